// Where one tensor of a checkpoint lies and what its bytes mean. The same for every container.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace t2v::weights {

// NOLINTBEGIN(readability-identifier-naming): the format's own names
// How the bytes of a tensor stand for its elements.
enum class Encoding : uint8_t {
  kPlain,  // one element after the other, in its dtype
  kQ4_0,   // GGML block types: whole blocks along the last dimension
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
};
// NOLINTEND(readability-identifier-naming)

// Elements and bytes of one block; {1, 0} for kPlain.
struct BlockSize {
  int64_t elements = 1;
  int64_t bytes = 0;
};

// "Q4_K"; "" for kPlain.
std::string_view encoding_name(Encoding encoding) noexcept;
BlockSize block_size(Encoding encoding) noexcept;

struct TensorEntry {
  std::string name;                                    // as in the file
  c10::ScalarType dtype = c10::ScalarType::Undefined;  // Byte when the encoding is not plain
  std::vector<int64_t> shape;                          // of the elements, row-major; may hold zeros
  int32_t file_index = 0;                              // which file of the checkpoint
  int64_t offset = 0;                                  // from the start of the file
  int64_t bytes = 0;                                   // in the file
  Encoding encoding = Encoding::kPlain;
};

// What opening one file gives.
struct ContainerHeader {
  std::vector<TensorEntry> tensors;             // sorted by name, no duplicates
  std::map<std::string, std::string> metadata;  // the file's own words, by key
};

// Returns the name of a tensor that is there twice, nullptr when there is none.
const std::string* sort_by_name(std::vector<TensorEntry>& tensors);

// Bytes below 0x20 and 0x7f; names with them are refused.
bool has_control_bytes(std::string_view name) noexcept;

// Elements of a shape; -1 when that does not fit 63 bits or an extent is negative. A shape that
// overflows without its zeros is refused too.
int64_t num_elements(const std::vector<int64_t>& shape) noexcept;
// Bytes that shape, dtype and encoding need; -1 when that does not fit 63 bits or the last
// dimension is not a whole number of blocks.
int64_t num_bytes(const TensorEntry& entry) noexcept;
// What the elements are stored as: "BF16", "Q4_K"; "?" for what no container holds.
std::string_view stored_type_name(const TensorEntry& entry) noexcept;

}  // namespace t2v::weights
