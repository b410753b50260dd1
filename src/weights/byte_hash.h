// XXH3-128 of bytes that come piece by piece: tells whether something has changed, at the speed of
// memory. No protection against somebody who wants two files to look alike (that is Sha256).
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace t2v::weights {

class ByteHash {
 public:
  static constexpr size_t kDigits = 32;

  ByteHash();
  ByteHash(ByteHash&&) noexcept;
  ByteHash& operator=(ByteHash&&) noexcept;
  ~ByteHash();
  void add(std::span<const std::byte> bytes);
  // kDigits hexadecimal digits, lower case.
  [[nodiscard]] std::string finish() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace t2v::weights
