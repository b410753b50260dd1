#include "weights/checkpoint.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "core/check.h"
#include "core/escape.h"
#include "weights/checkpoint_files.h"
#include "weights/json_file.h"

namespace t2v::weights {
namespace {

constexpr int64_t kMaxIndexBytes = 100'000'000;
constexpr int64_t kConversionBytes = int64_t{8} << 20;  // of the source, per step of a conversion

std::span<std::byte> bytes_of(const at::Tensor& tensor) {
  return {static_cast<std::byte*>(tensor.mutable_data_ptr()), tensor.nbytes()};
}

bool by_name(const TensorEntry& a, const TensorEntry& b) { return a.name < b.name; }

std::string shown(std::string_view name) { return core::escape_control(name, 200); }

}  // namespace

Checkpoint::Checkpoint(std::string path, ErrorKind error_kind)
    : path_(std::move(path)), error_kind_(error_kind) {}

Checkpoint Checkpoint::open(const std::string& path, ErrorKind error_kind) {
  Checkpoint checkpoint(path, error_kind);
  std::error_code ignored;
  if (!std::filesystem::is_directory(path, ignored)) {
    SafetensorsHeader header = checkpoint.add_file(path);
    checkpoint.tensors_ = std::move(header.tensors);
    checkpoint.metadata_ = std::move(header.metadata);
    return checkpoint;
  }
  const CheckpointFile found = find_checkpoint_file(path, error_kind);
  if (found.is_index) {
    checkpoint.open_sharded(path, found.path);
  } else {
    SafetensorsHeader header = checkpoint.add_file(found.path);
    checkpoint.tensors_ = std::move(header.tensors);
    checkpoint.metadata_ = std::move(header.metadata);
  }
  return checkpoint;
}

SafetensorsHeader Checkpoint::add_file(const std::string& path) {
  auto source = std::make_shared<const LocalFile>(path, error_kind_);
  SafetensorsHeader header = read_safetensors_header(*source);
  const auto index = static_cast<int32_t>(files_.size());
  for (TensorEntry& tensor : header.tensors) tensor.file_index = index;
  files_.push_back(std::move(source));
  return header;
}

void Checkpoint::open_sharded(const std::string& folder, const std::string& index_path) {
  const JsonFile index = JsonFile::read(index_path, kMaxIndexBytes, error_kind_);
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
    const std::string path = (std::filesystem::path(folder) / shard).string();
    std::error_code error;
    T2V_REQUIRE(std::filesystem::exists(path, error) || error, error_kind_, "missing shard: '",
                shown(shard), "' is named by the index (", index_path, ")");
    SafetensorsHeader header = add_file(path);
    metadata_.merge(header.metadata);
    for (TensorEntry& tensor : header.tensors) {
      const auto place = weight_map.find(tensor.name);
      T2V_REQUIRE(place != weight_map.end(), error_kind_, "broken shard: tensor '",
                  shown(tensor.name), "' is not in the index '", index_path, "' (", path, ")");
      T2V_REQUIRE(place->second == shard, error_kind_, "broken shard: tensor '", shown(tensor.name),
                  "' belongs into '", shown(place->second), "' by the index (", path, ")");
      tensors_.push_back(std::move(tensor));
    }
  }
  std::sort(tensors_.begin(), tensors_.end(), by_name);
  for (const auto& [tensor, shard] : weight_map) {
    T2V_REQUIRE(contains(tensor), error_kind_, "broken shard: tensor '", shown(tensor),
                "' is not there, the index '", index_path, "' says it is (",
                (std::filesystem::path(folder) / shard).string(), ")");
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

at::Tensor Checkpoint::load(std::string_view name) const {
  const TensorEntry& tensor = entry(name);
  at::Tensor loaded = at::empty(tensor.shape, at::TensorOptions().dtype(tensor.dtype));
  files_[static_cast<size_t>(tensor.file_index)]->read(tensor.offset, bytes_of(loaded));
  return loaded;
}

at::Tensor Checkpoint::load_rows(std::string_view name, std::span<const int64_t> rows) const {
  const TensorEntry& tensor = entry(name);
  T2V_REQUIRE(!tensor.shape.empty(), error_kind_, "tensor '", shown(name),
              "' is a scalar, expected a table (", file_of(tensor), ")");
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
