#include "weights/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <string_view>

#include "core/check.h"
#include "core/escape.h"
#include "weights/safetensors_sax.h"

namespace t2v::weights {
namespace {

constexpr int64_t kLengthBytes = 8;
constexpr int64_t kMaxHeaderBytes = 100'000'000;

struct DtypeName {
  c10::ScalarType dtype;
  const char* name;
};

constexpr std::array<DtypeName, 12> kDtypes{{
    {c10::ScalarType::Double, "F64"},
    {c10::ScalarType::Float, "F32"},
    {c10::ScalarType::Half, "F16"},
    {c10::ScalarType::BFloat16, "BF16"},
    {c10::ScalarType::Float8_e4m3fn, "F8_E4M3"},
    {c10::ScalarType::Float8_e5m2, "F8_E5M2"},
    {c10::ScalarType::Char, "I8"},
    {c10::ScalarType::Byte, "U8"},
    {c10::ScalarType::Short, "I16"},
    {c10::ScalarType::Int, "I32"},
    {c10::ScalarType::Long, "I64"},
    {c10::ScalarType::Bool, "BOOL"},
}};

[[noreturn]] void refuse(const ByteSource& source, const std::string& why) {
  throw Error(source.error_kind(),
              core::str("broken safetensors file: ", why, " (", source.name(), ")"));
}

std::string named(std::string_view name) {
  return core::str("tensor '", core::escape_control(name, 200), "'");
}

// Files that often stand where a safetensors file should; the words are for the message.
const char* other_format(std::string_view start) noexcept {
  if (start.starts_with("GGUF")) return "a GGUF file";
  if (start.starts_with("PK\x03\x04")) return "a torch archive (.pt, .pth)";
  if (start.starts_with("version "))
    return "a Git LFS pointer, not the weights; try `git lfs pull`";
  if (start.starts_with("<!DOCTY") || start.starts_with("<html"))
    return "a web page; try to download it again";
  return nullptr;
}

int64_t header_length(const ByteSource& source) {
  std::array<std::byte, kLengthBytes> raw{};
  if (source.size() == 0) refuse(source, "the file is empty");
  if (source.size() < kLengthBytes)
    refuse(source, core::str("it has only ", source.size(), " bytes"));
  source.read(0, raw);
  const std::string_view start(reinterpret_cast<const char*>(raw.data()), raw.size());
  if (const char* format = other_format(start)) {
    throw Error(source.error_kind(),
                core::str("not a safetensors file: it is ", format, " (", source.name(), ")"));
  }
  uint64_t length = 0;  // little endian
  for (size_t i = raw.size(); i-- > 0;) length = length << 8 | std::to_integer<uint64_t>(raw[i]);
  if (length > static_cast<uint64_t>(kMaxHeaderBytes)) {
    refuse(source, core::str("its header claims ", length, " bytes, at most ", kMaxHeaderBytes,
                             " are allowed"));
  }
  const auto result = static_cast<int64_t>(length);
  if (result > source.size() - kLengthBytes) {
    refuse(source, core::str("its header claims ", result, " bytes, the file has ", source.size()));
  }
  if (result < 2) refuse(source, core::str("its header claims ", result, " bytes"));
  return result;
}

// Ranges agree with shapes, and all together cover the data exactly once.
void check_ranges(const ByteSource& source, const std::vector<TensorEntry>& tensors,
                  int64_t data_start) {
  for (const TensorEntry& tensor : tensors) {
    const int64_t expected = num_bytes(tensor);
    if (expected < 0) refuse(source, named(tensor.name) + " has a shape that overflows");
    if (expected != tensor.bytes) {
      refuse(source, core::str(named(tensor.name), " has ", tensor.bytes,
                               " bytes, its shape and dtype need ", expected));
    }
  }
  struct Place {
    int64_t offset, bytes;
    uint32_t index;
  };
  std::vector<Place> order(tensors.size());  // small elements: a million of them sort quickly
  for (size_t i = 0; i < tensors.size(); ++i)
    order[i] = {tensors[i].offset, tensors[i].bytes, static_cast<uint32_t>(i)};
  std::sort(order.begin(), order.end(), [](const Place& a, const Place& b) {
    return std::pair(a.offset, a.bytes) < std::pair(b.offset, b.bytes);
  });
  int64_t next = data_start;
  for (const Place& place : order) {
    const TensorEntry& tensor = tensors[place.index];
    if (tensor.offset < next) refuse(source, named(tensor.name) + " overlaps another tensor");
    if (tensor.offset > next) {
      refuse(source, core::str("bytes before ", named(tensor.name), " belong to no tensor"));
    }
    next = tensor.offset + tensor.bytes;
    if (next > source.size()) {
      refuse(source, core::str(named(tensor.name), " ends at byte ", next, ", the file has ",
                               source.size(), "; was it cut short?"));
    }
  }
  if (next != source.size()) {
    refuse(source,
           core::str(source.size() - next, " bytes after the last tensor belong to no tensor"));
  }
}

}  // namespace

ContainerHeader read_safetensors_header(const ByteSource& source) {
  const int64_t length = header_length(source);
  ContainerHeader header;
  {
    const auto size = static_cast<size_t>(length);
    const std::unique_ptr<char[]> text(new char[size]);
    source.read(kLengthBytes, std::as_writable_bytes(std::span(text.get(), size)));
    if (text[0] != '{') refuse(source, "its header does not start with '{'");
    // The JSON parser takes NUL for the end of its input: what follows would go unseen.
    if (std::memchr(text.get(), 0, size) != nullptr) refuse(source, "its header holds a NUL byte");
    SafetensorsSax sax(header, kLengthBytes + length);
    const bool parsed = nlohmann::json::sax_parse(text.get(), text.get() + size, &sax);
    if (!parsed) refuse(source, "its header " + sax.reason());
  }
  if (const std::string* twice = sort_by_name(header.tensors))
    refuse(source, named(*twice) + " is there twice");
  check_ranges(source, header.tensors, kLengthBytes + length);
  return header;
}

const char* safetensors_dtype_name(c10::ScalarType dtype) noexcept {
  for (const DtypeName& known : kDtypes) {
    if (known.dtype == dtype) return known.name;
  }
  return nullptr;
}

c10::ScalarType safetensors_dtype(const std::string& name) noexcept {
  for (const DtypeName& known : kDtypes) {
    if (name == known.name) return known.dtype;
  }
  return c10::ScalarType::Undefined;
}

}  // namespace t2v::weights
