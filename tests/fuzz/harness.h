// What every fuzz target shares: input as a file, and what may come of it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string_view>

#include "t2v/error.h"
#include "weights/byte_source.h"
#include "weights/tensor_entry.h"

namespace t2v::fuzz {

// The bytes of one input, as a file called "input".
class MemorySource final : public weights::ByteSource {
 public:
  explicit MemorySource(std::span<const std::byte> bytes)
      : ByteSource("input", ErrorKind::kModel), bytes_(bytes) {}
  [[nodiscard]] int64_t size() const noexcept override {
    return static_cast<int64_t>(bytes_.size());
  }

 private:
  void read_range(int64_t offset, std::span<std::byte> out) const override {
    std::memcpy(out.data(), bytes_.data() + offset, out.size());
  }
  std::span<const std::byte> bytes_;
};

inline void require(bool condition) {
  if (!condition) std::abort();
}

// Runs one reader: it succeeds, or throws an Error{kModel} of one line that names the file.
template <typename Call>
void expect_answer(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    require(error.kind() == ErrorKind::kModel);
    const std::string_view message = error.what();
    require(message.find("input") != std::string_view::npos && message.size() < 8000);
    require(std::none_of(message.begin(), message.end(), [](char c) {
      const auto byte = static_cast<unsigned char>(c);
      return byte < 0x20 || byte == 0x7f;
    }));
  }
}

// What an accepted header promises.
inline void check_header(const weights::ContainerHeader& header, int64_t file_bytes) {
  const std::string* before = nullptr;
  for (const weights::TensorEntry& tensor : header.tensors) {
    require(!tensor.name.empty() && !weights::has_control_bytes(tensor.name));
    require(before == nullptr || *before < tensor.name);
    before = &tensor.name;
    require(tensor.bytes == weights::num_bytes(tensor) && tensor.bytes >= 0);
    require(tensor.offset >= 0 && tensor.offset <= file_bytes &&
            tensor.bytes <= file_bytes - tensor.offset);
  }
}

inline std::span<const std::byte> as_bytes(const uint8_t* input, size_t size) {
  return {reinterpret_cast<const std::byte*>(input), size};
}
inline std::string_view as_text(const uint8_t* input, size_t size) {
  return {reinterpret_cast<const char*>(input), size};
}

}  // namespace t2v::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size);
