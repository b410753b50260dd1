#include "weights/checkpoint.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <iterator>
#include <set>

#include "core/check.h"
#include "core/escape.h"
#include "weights/checkpoint_files.h"
#include "weights/container.h"
#include "weights/json_file.h"

namespace t2v::weights {
namespace {

constexpr int64_t kMaxIndexBytes = 100'000'000;
constexpr int64_t kConversionBytes = int64_t{8} << 20;  // of the source, per step of a conversion

std::span<std::byte> bytes_of(const at::Tensor& tensor) {
  return {static_cast<std::byte*>(tensor.mutable_data_ptr()), tensor.nbytes()};
}

// The folder that holds a file; "" for a bare name. A query of a web address stays at its end.
std::string parent_path(const std::string& path) {
  const std::string name = base_name(path);
  const size_t end = is_remote(path) ? path.find_first_of("?#") : std::string::npos;
  const size_t at = path.rfind(name, end);
  return path.substr(0, at) + path.substr(at + name.size());
}

std::string shown(std::string_view name) { return core::escape_control(name, 200); }

}  // namespace

Checkpoint::Checkpoint(std::string path, ErrorKind error_kind)
    : path_(std::move(path)), error_kind_(error_kind) {}

Checkpoint Checkpoint::open(const std::string& path, ErrorKind error_kind) {
  return open(*open_storage(), path, error_kind);
}

Checkpoint Checkpoint::open(const Storage& storage, const std::string& path, ErrorKind error_kind) {
  Checkpoint checkpoint(path, error_kind);
  CheckpointFile found{{path}, false};
  // Only models come as folders.
  if (error_kind == ErrorKind::kModel && storage.look(path) == PathKind::kFolder) {
    found = find_checkpoint_file(storage, path, error_kind);
  } else {
    found.paths.clear();
    const std::string name = base_name(path);
    for (const std::string& shard : shard_names(name))
      found.paths.push_back(shard == name ? path : join_path(parent_path(path), shard));
  }
  if (found.paths.size() > 1) {
    checkpoint.open_files(storage, found.paths);
    return checkpoint;
  }
  auto source = storage.open(found.paths[0], error_kind);
  if (found.is_index || container_kind(*source) == ContainerKind::kIndex) {
    checkpoint.open_sharded(storage, *source, parent_path(found.paths[0]));
  } else {
    checkpoint.tensors_ = checkpoint.add_file(std::move(source));
  }
  return checkpoint;
}

std::vector<TensorEntry> Checkpoint::add_file(std::shared_ptr<const ByteSource> source) {
  ContainerHeader header = read_container(*source);
  const auto index = static_cast<int32_t>(files_.size());
  for (TensorEntry& tensor : header.tensors) tensor.file_index = index;
  metadata_.merge(header.metadata);
  files_.push_back(std::move(source));
  return std::move(header.tensors);
}

// Shards that only their names tie together.
void Checkpoint::open_files(const Storage& storage, const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    T2V_REQUIRE(storage.look(path) != PathKind::kAbsent, error_kind_, "missing shard: '",
                shown(base_name(path)), "' is not there (", path_, ")");
    std::vector<TensorEntry> tensors = add_file(storage.open(path, error_kind_));
    std::move(tensors.begin(), tensors.end(), std::back_inserter(tensors_));
  }
  const std::string* twice = sort_by_name(tensors_);
  T2V_REQUIRE(twice == nullptr, error_kind_, "broken shards: tensor '", shown(*twice),
              "' is in two of them (", path_, ")");
}

void Checkpoint::open_sharded(const Storage& storage, const ByteSource& index_source,
                              const std::string& folder) {
  const std::string& index_path = index_source.name();
  const JsonFile index = JsonFile::read(index_source, kMaxIndexBytes);
  const std::map<std::string, std::string> weight_map = index.get_string_map("weight_map");
  T2V_REQUIRE(!weight_map.empty(), error_kind_, "broken index: 'weight_map' is empty (", index_path,
              ")");
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : weight_map) {
    T2V_REQUIRE(is_base_name(shard), error_kind_, "broken index: tensor '", shown(tensor),
                "' is said to be in '", shown(shard),
                "', expected the plain name of a file in the same folder (", index_path, ")");
    shards.insert(shard);
  }
  for (const std::string& shard : shards) {
    const std::string path = join_path(folder, shard);
    T2V_REQUIRE(storage.look(path) != PathKind::kAbsent, error_kind_, "missing shard: '",
                shown(shard), "' is named by the index (", index_path, ")");
    for (TensorEntry& tensor : add_file(storage.open(path, error_kind_))) {
      const auto place = weight_map.find(tensor.name);
      T2V_REQUIRE(place != weight_map.end(), error_kind_, "broken shard: tensor '",
                  shown(tensor.name), "' is not in the index '", index_path, "' (", path, ")");
      T2V_REQUIRE(place->second == shard, error_kind_, "broken shard: tensor '", shown(tensor.name),
                  "' belongs into '", shown(place->second), "' by the index (", path, ")");
      tensors_.push_back(std::move(tensor));
    }
  }
  sort_by_name(tensors_);
  for (const auto& [tensor, shard] : weight_map) {
    T2V_REQUIRE(contains(tensor), error_kind_, "broken shard: tensor '", shown(tensor),
                "' is not there, the index '", index_path, "' says it is (",
                join_path(folder, shard), ")");
  }
}

bool Checkpoint::contains(std::string_view name) const noexcept { return find(name) != nullptr; }

const TensorEntry* Checkpoint::find(std::string_view name) const noexcept {
  const auto place = std::lower_bound(
      tensors_.begin(), tensors_.end(), name,
      [](const TensorEntry& entry, std::string_view key) { return entry.name < key; });
  return place != tensors_.end() && place->name == name ? &*place : nullptr;
}

const TensorEntry& Checkpoint::entry(std::string_view name) const {
  const TensorEntry* found = find(name);
  T2V_REQUIRE(found != nullptr, error_kind_, "tensor '", shown(name), "' is missing (", path_, ")");
  return *found;
}

void Checkpoint::require_plain(const TensorEntry& tensor) const {
  T2V_REQUIRE(tensor.encoding == Encoding::kPlain, error_kind_, "tensor '", shown(tensor.name),
              "' is stored as ", encoding_name(tensor.encoding), ", expected plain numbers (",
              file_of(tensor), ")");
}

at::Tensor Checkpoint::load(std::string_view name) const {
  const TensorEntry& tensor = entry(name);
  const bool plain = tensor.encoding == Encoding::kPlain;
  at::Tensor loaded = plain ? at::empty(tensor.shape, at::TensorOptions().dtype(tensor.dtype))
                            : at::empty({tensor.bytes}, at::TensorOptions().dtype(at::kByte));
  files_[static_cast<size_t>(tensor.file_index)]->read(tensor.offset, bytes_of(loaded));
  return loaded;
}

at::Tensor Checkpoint::load_rows(std::string_view name, std::span<const int64_t> rows) const {
  const TensorEntry& tensor = entry(name);
  T2V_REQUIRE(!tensor.shape.empty(), error_kind_, "tensor '", shown(name),
              "' is a scalar, expected a table (", file_of(tensor), ")");
  require_plain(tensor);
  std::vector<int64_t> shape = tensor.shape;
  const int64_t num_rows = shape[0];
  shape[0] = static_cast<int64_t>(rows.size());
  at::Tensor loaded = at::empty(shape, at::TensorOptions().dtype(tensor.dtype));
  const int64_t row_bytes = num_rows == 0 ? 0 : tensor.bytes / num_rows;
  std::span<std::byte> rest = bytes_of(loaded);
  for (const int64_t row : rows) {
    T2V_REQUIRE(row >= 0 && row < num_rows, error_kind_, "tensor '", shown(name), "' has ",
                num_rows, " rows, row ", row,
                " was asked for; do tokenizer and text encoder belong together? (", file_of(tensor),
                ")");
    const auto count = static_cast<size_t>(row_bytes);
    files_[static_cast<size_t>(tensor.file_index)]->read(tensor.offset + row * row_bytes,
                                                         rest.first(count));
    rest = rest.subspan(count);
  }
  return loaded;
}

void Checkpoint::load_into(std::string_view name, at::Tensor& destination) const {
  const TensorEntry& tensor = entry(name);
  T2V_ASSERT(destination.is_contiguous());
  require_plain(tensor);
  T2V_REQUIRE(destination.sizes() == c10::IntArrayRef(tensor.shape), error_kind_, "tensor '",
              shown(name), "' is ", c10::IntArrayRef(tensor.shape), ", expected ",
              destination.sizes(), " (", file_of(tensor), ")");
  const ByteSource& source = *files_[static_cast<size_t>(tensor.file_index)];
  if (destination.scalar_type() == tensor.dtype && destination.is_cpu()) {
    source.read(tensor.offset, bytes_of(destination));
    return;
  }
  const auto element_bytes = static_cast<int64_t>(c10::elementSize(tensor.dtype));
  const int64_t step = kConversionBytes / element_bytes;
  const at::Tensor flat = destination.view({-1});
  const int64_t total = flat.numel();
  const at::Tensor buffer =
      at::empty({std::min(step, total)}, at::TensorOptions().dtype(tensor.dtype));
  for (int64_t start = 0; start < total; start += step) {
    const int64_t count = std::min(step, total - start);
    const at::Tensor part = buffer.narrow(0, 0, count);
    source.read(tensor.offset + start * element_bytes, bytes_of(part));
    flat.narrow(0, start, count).copy_(part);
  }
}

int64_t Checkpoint::bytes_total() const noexcept {
  int64_t total = 0;
  for (const TensorEntry& tensor : tensors_) total += tensor.bytes;
  return total;
}

int64_t Checkpoint::bytes_read() const noexcept {
  int64_t total = 0;
  for (const auto& file : files_) total += file->bytes_read();
  return total;
}

const std::string& Checkpoint::file_of(const TensorEntry& entry) const noexcept {
  return files_[static_cast<size_t>(entry.file_index)]->name();
}

}  // namespace t2v::weights
