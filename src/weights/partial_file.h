// A safetensors file of known size that is written piece by piece, in any order, perhaps by several
// runs of the program one after the other. It gets its name when it is whole.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "weights/safetensors_writer.h"

namespace t2v::weights {

// Until commit() the bytes lie in "<path>.partial", which no loader looks at and the destructor
// leaves alone. All members throw Error{kOutput} naming the file.
class PartialFile {
 public:
  using Metadata = std::map<std::string, std::string>;

  // Continues the partial file when one with this very header is there, else makes it anew.
  PartialFile(std::string path, std::vector<HeaderTensor> tensors, const Metadata& metadata);
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;
  ~PartialFile();

  [[nodiscard]] bool is_continued() const noexcept { return continued_; }
  [[nodiscard]] int64_t bytes() const noexcept { return bytes_; }  // of the whole file
  // Where tensor `index` begins.
  [[nodiscard]] int64_t offset_of(size_t index) const { return offsets_.at(index); }

  void write(int64_t offset, const void* bytes, size_t size) const;
  // Returns when everything written so far would survive a loss of power.
  void sync() const;
  // metadata: the final one; its values have the lengths of the first.
  void commit(const Metadata& metadata);

 private:
  void open(const std::string& header);

  std::string path_;
  std::string partial_;
  std::vector<HeaderTensor> tensors_;
  std::vector<int64_t> offsets_;
  size_t header_bytes_ = 0;
  int64_t bytes_ = 0;
  bool continued_ = false;
  int fd_ = -1;
};

inline constexpr const char* kPartialSuffix = ".partial";
// Data begins at a multiple of it, so that fp32 tensors need not be copied when they are read.
inline constexpr int64_t kPartialFileAlignment = 64;

}  // namespace t2v::weights
