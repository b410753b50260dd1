#include "weights/gguf.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

#include "core/check.h"
#include "core/escape.h"
#include "weights/gguf_values.h"
#include "weights/source_cursor.h"

namespace t2v::weights {
namespace {

constexpr const char* kFormat = "broken GGUF file";
constexpr int64_t kMaxHeaderBytes = 100'000'000;
constexpr uint64_t kMaxNameBytes = 1024;
constexpr uint32_t kMaxRank = 8;
constexpr uint64_t kLeastPairBytes = 8 + 1 + 4 + 1;        // key, type, value
constexpr uint64_t kLeastTensorBytes = 8 + 1 + 4 + 4 + 8;  // name, rank, type, offset

struct GgmlType {
  uint32_t id;
  const char* name;
  c10::ScalarType dtype;  // Undefined: not read
  Encoding encoding;
};

constexpr auto kBlocks = c10::ScalarType::Byte;
constexpr auto kRefused = c10::ScalarType::Undefined;

constexpr std::array<GgmlType, 35> kTypes{{
    {0, "F32", c10::ScalarType::Float, Encoding::kPlain},
    {1, "F16", c10::ScalarType::Half, Encoding::kPlain},
    {30, "BF16", c10::ScalarType::BFloat16, Encoding::kPlain},
    {2, "Q4_0", kBlocks, Encoding::kQ4_0},
    {3, "Q4_1", kBlocks, Encoding::kQ4_1},
    {6, "Q5_0", kBlocks, Encoding::kQ5_0},
    {7, "Q5_1", kBlocks, Encoding::kQ5_1},
    {8, "Q8_0", kBlocks, Encoding::kQ8_0},
    {10, "Q2_K", kBlocks, Encoding::kQ2_K},
    {11, "Q3_K", kBlocks, Encoding::kQ3_K},
    {12, "Q4_K", kBlocks, Encoding::kQ4_K},
    {13, "Q5_K", kBlocks, Encoding::kQ5_K},
    {14, "Q6_K", kBlocks, Encoding::kQ6_K},
    {9, "Q8_1", kRefused, Encoding::kPlain},
    {15, "Q8_K", kRefused, Encoding::kPlain},
    {16, "IQ2_XXS", kRefused, Encoding::kPlain},
    {17, "IQ2_XS", kRefused, Encoding::kPlain},
    {18, "IQ3_XXS", kRefused, Encoding::kPlain},
    {19, "IQ1_S", kRefused, Encoding::kPlain},
    {20, "IQ4_NL", kRefused, Encoding::kPlain},
    {21, "IQ3_S", kRefused, Encoding::kPlain},
    {22, "IQ2_S", kRefused, Encoding::kPlain},
    {23, "IQ4_XS", kRefused, Encoding::kPlain},
    {24, "I8", kRefused, Encoding::kPlain},
    {25, "I16", kRefused, Encoding::kPlain},
    {26, "I32", kRefused, Encoding::kPlain},
    {27, "I64", kRefused, Encoding::kPlain},
    {28, "F64", kRefused, Encoding::kPlain},
    {29, "IQ1_M", kRefused, Encoding::kPlain},
    {31, "Q4_0_4_4", kRefused, Encoding::kPlain},
    {32, "Q4_0_4_8", kRefused, Encoding::kPlain},
    {33, "Q4_0_8_8", kRefused, Encoding::kPlain},
    {34, "TQ1_0", kRefused, Encoding::kPlain},
    {35, "TQ2_0", kRefused, Encoding::kPlain},
    {39, "MXFP4", kRefused, Encoding::kPlain},
}};

std::string named(const std::string& name) {
  return core::str("tensor '", core::escape_control(name, 200), "'");
}

// Sets dtype and encoding.
void apply_type(const SourceCursor& cursor, uint32_t id, TensorEntry& tensor) {
  const auto found = std::find_if(kTypes.begin(), kTypes.end(),
                                  [&](const GgmlType& type) { return type.id == id; });
  if (found == kTypes.end())
    cursor.refuse(core::str(named(tensor.name), " is of unknown type ", id));
  if (found->dtype == kRefused) {
    cursor.refuse(
        core::str(named(tensor.name), " is stored as ", found->name,
                  ", which is not read; take F32, F16, BF16, Q8_0, Q4_0 to Q5_1 or Q2_K to "
                  "Q6_K"));
  }
  tensor.dtype = found->dtype;
  tensor.encoding = found->encoding;
}

// The file's dimensions are fastest first.
std::vector<int64_t> take_dimensions(SourceCursor& cursor, const std::string& name) {
  const uint32_t rank = cursor.take_u32();
  if (rank > kMaxRank)
    cursor.refuse(core::str(named(name), " has ", rank, " dimensions, at most ", kMaxRank));
  std::vector<int64_t> shape;
  for (uint32_t i = 0; i < rank; ++i) {
    const uint64_t extent = cursor.take_u64();
    if (extent > static_cast<uint64_t>(INT64_MAX))
      cursor.refuse(named(name) + " has a shape that overflows");
    shape.push_back(static_cast<int64_t>(extent));
  }
  std::reverse(shape.begin(), shape.end());
  return shape;
}

// offset is still relative to the data.
TensorEntry take_tensor(SourceCursor& cursor, const GgufValues& values) {
  TensorEntry tensor;
  tensor.name = take_gguf_name(cursor, kMaxNameBytes, "a tensor");
  tensor.shape = take_dimensions(cursor, tensor.name);
  apply_type(cursor, cursor.take_u32(), tensor);
  const uint64_t offset = cursor.take_u64();
  const int64_t elements = num_elements(tensor.shape);
  const int64_t block = block_size(tensor.encoding).elements;
  if (elements < 0) cursor.refuse(named(tensor.name) + " has a shape that overflows");
  if (block > 1 && (tensor.shape.empty() || tensor.shape.back() % block != 0)) {
    cursor.refuse(core::str(named(tensor.name), " is ", encoding_name(tensor.encoding),
                            " with rows of ", tensor.shape.empty() ? 1 : tensor.shape.back(),
                            " elements, expected a multiple of ", block));
  }
  const auto original = values.original_shapes.find(tensor.name);
  if (original != values.original_shapes.end()) {
    if (num_elements(original->second) != elements) {
      cursor.refuse(core::str(named(tensor.name), " has ", elements,
                              " elements, not those of its orig_shape"));
    }
    tensor.shape = original->second;
  }
  tensor.bytes = num_bytes(tensor);
  if (tensor.bytes < 0) cursor.refuse(named(tensor.name) + " has a shape that overflows");
  if (offset % static_cast<uint64_t>(values.alignment) != 0) {
    cursor.refuse(core::str(named(tensor.name), " begins at ", offset, ", expected a multiple of ",
                            values.alignment));
  }
  if (offset > static_cast<uint64_t>(INT64_MAX) / 2)
    cursor.refuse(core::str(named(tensor.name), " begins at ", offset, ", beyond the file"));
  tensor.offset = static_cast<int64_t>(offset);
  return tensor;
}

// Makes offsets absolute; ranges lie in the file and do not overlap.
void place_tensors(const SourceCursor& cursor, int64_t data_start, int64_t file_bytes,
                   std::vector<TensorEntry>& tensors) {
  std::vector<uint32_t> order(tensors.size());
  std::iota(order.begin(), order.end(), 0U);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    return std::pair(tensors[a].offset, tensors[a].bytes) <
           std::pair(tensors[b].offset, tensors[b].bytes);
  });
  int64_t next = data_start;
  for (const uint32_t index : order) {
    TensorEntry& tensor = tensors[index];
    tensor.offset += data_start;  // both are below 2^62
    if (tensor.offset < next) cursor.refuse(named(tensor.name) + " overlaps another tensor");
    if (tensor.offset > file_bytes || tensor.bytes > file_bytes - tensor.offset) {
      cursor.refuse(core::str(named(tensor.name), " has ", tensor.bytes, " bytes at ",
                              tensor.offset, ", the file has ", file_bytes, "; was it cut short?"));
    }
    next = tensor.offset + tensor.bytes;
  }
}

struct Counts {
  uint64_t tensors = 0;
  uint64_t values = 0;
};

Counts take_counts(SourceCursor& cursor) {
  if (cursor.take_u32() != 0x46554747U) cursor.refuse("it does not start with 'GGUF'");
  const uint32_t version = cursor.take_u32();
  if ((version & 0xffffU) == 0 && version != 0) cursor.refuse("it is big-endian");
  if (version != 2 && version != 3)
    cursor.refuse(core::str("it has version ", version, ", expected 2 or 3"));
  Counts counts;
  counts.tensors = cursor.take_u64();
  counts.values = cursor.take_u64();
  const auto left = static_cast<uint64_t>(cursor.left());
  if (counts.tensors > left / kLeastTensorBytes)
    cursor.refuse(core::str("it claims ", counts.tensors, " tensors, more than it can hold"));
  if (counts.values > left / kLeastPairBytes)
    cursor.refuse(core::str("it claims ", counts.values, " keys, more than it can hold"));
  return counts;
}

}  // namespace

ContainerHeader read_gguf_header(const ByteSource& source) {
  SourceCursor cursor(source, kFormat, 0, kMaxHeaderBytes);
  const Counts counts = take_counts(cursor);
  GgufValues values = read_gguf_values(cursor, counts.values);
  ContainerHeader header;
  for (uint64_t i = 0; i < counts.tensors; ++i)
    header.tensors.push_back(take_tensor(cursor, values));
  const int64_t data_start =
      (cursor.position() + values.alignment - 1) / values.alignment * values.alignment;
  place_tensors(cursor, data_start, source.size(), header.tensors);
  if (const std::string* twice = sort_by_name(header.tensors))
    cursor.refuse(named(*twice) + " is there twice");
  header.metadata = std::move(values.text);
  return header;
}

}  // namespace t2v::weights
