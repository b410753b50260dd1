// One component's weights as one view of named tensors, in one file or in shards.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "weights/byte_source.h"
#include "weights/storage.h"
#include "weights/tensor_entry.h"

namespace t2v::weights {

// Opening reads headers only; tensors are read when asked for, straight into their own memory.
// Const members may be called from several threads at once.
class Checkpoint {
 public:
  // path: a file of any container (safetensors, GGUF, torch archive), told by its content; an index
  // of shards; one shard of a set; or a folder that holds one of these.
  // Throws Error{error_kind} (kRemote) naming the file (and tensor) at fault.
  static Checkpoint open(const Storage& storage, const std::string& path,
                         ErrorKind error_kind = ErrorKind::kModel);
  // The same on local storage.
  static Checkpoint open(const std::string& path, ErrorKind error_kind = ErrorKind::kModel);

  [[nodiscard]] bool contains(std::string_view name) const noexcept;
  // nullptr when there is no such tensor.
  [[nodiscard]] const TensorEntry* find(std::string_view name) const noexcept;
  // Throws Error naming file and tensor when there is none.
  [[nodiscard]] const TensorEntry& entry(std::string_view name) const;
  // All tensors, sorted by name.
  [[nodiscard]] const std::vector<TensorEntry>& tensors() const noexcept { return tensors_; }
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const noexcept {
    return metadata_;
  }

  // The tensor as stored, on the CPU, contiguous; GGML blocks as uint8 [bytes].
  [[nodiscard]] at::Tensor load(std::string_view name) const;
  // Rows (first dimension) of a plain table, in the order asked, without reading the others.
  [[nodiscard]] at::Tensor load_rows(std::string_view name, std::span<const int64_t> rows) const;
  // Fills `destination` (same number of elements per dimension, contiguous, any dtype and device)
  // from a plain tensor; conversion goes through a small buffer, never a second copy of the tensor.
  void load_into(std::string_view name, at::Tensor& destination) const;

  [[nodiscard]] int64_t bytes_total() const noexcept;  // of all tensors
  [[nodiscard]] int64_t bytes_read() const noexcept;  // by this checkpoint so far, headers included
  [[nodiscard]] ErrorKind error_kind() const noexcept { return error_kind_; }
  // The path that was opened, and the path of the file that holds a tensor.
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] const std::string& file_of(const TensorEntry& entry) const noexcept;
  [[nodiscard]] const std::vector<std::shared_ptr<const ByteSource>>& files() const noexcept {
    return files_;
  }

 private:
  Checkpoint(std::string path, ErrorKind error_kind);
  std::vector<TensorEntry> add_file(std::shared_ptr<const ByteSource> source);
  void open_files(const Storage& storage, const std::vector<std::string>& paths);
  void require_plain(const TensorEntry& tensor) const;
  void open_sharded(const Storage& storage, const ByteSource& index_source,
                    const std::string& folder);

  std::string path_;
  ErrorKind error_kind_;
  std::vector<std::shared_ptr<const ByteSource>> files_;
  std::vector<TensorEntry> tensors_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace t2v::weights
