#include "weights/random_folder.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <mutex>
#include <random>

#include "core/check.h"

namespace t2v::weights {
namespace {

// A prime, so that rows of weights are not repetitions of each other.
constexpr int64_t kPoolElements = 1'048'573;

// How the numbers of one tensor are spread.
struct Spread {
  c10::ScalarType dtype = c10::kBFloat16;
  double mean = 0;
  double scale = 1;

  auto operator<=>(const Spread&) const = default;
};

template <typename T>
void fill(const std::vector<float>& normal, const Spread& spread, std::vector<std::byte>& out) {
  out.resize(normal.size() * sizeof(T));
  for (size_t i = 0; i < normal.size(); ++i) {
    const T value(static_cast<float>(spread.mean + spread.scale * static_cast<double>(normal[i])));
    std::memcpy(out.data() + i * sizeof(T), &value, sizeof(T));
  }
}

// Normal numbers made once; every tensor is a walk through those of its spread.
class Pools {
 public:
  // Stays where it is.
  const std::vector<std::byte>& get(const Spread& spread) {
    const std::lock_guard lock(mutex_);
    std::vector<std::byte>& pool = pools_[spread];
    if (pool.empty()) make(spread, pool);
    return pool;
  }

 private:
  void make(const Spread& spread, std::vector<std::byte>& pool) {
    if (normal_.empty()) {
      std::mt19937_64 random(20261121);  // any number: only its being fixed matters
      std::normal_distribution<float> numbers;
      normal_.resize(static_cast<size_t>(kPoolElements));
      for (float& value : normal_) value = numbers(random);
    }
    if (spread.dtype == c10::kFloat) return fill<float>(normal_, spread, pool);
    if (spread.dtype == c10::kHalf) return fill<c10::Half>(normal_, spread, pool);
    T2V_ASSERT(spread.dtype == c10::kBFloat16);
    fill<c10::BFloat16>(normal_, spread, pool);
  }

  std::mutex mutex_;
  std::vector<float> normal_;
  std::map<Spread, std::vector<std::byte>> pools_;
};

Spread spread_of(const ExpectedTensor& tensor, c10::ScalarType dtype) {
  const int64_t count = num_elements(tensor.shape);
  if (tensor.name.ends_with("modulation")) return {dtype, 0, 0.2};
  if (tensor.name.ends_with(".bias")) return {dtype, 0, 0.02};
  if (tensor.name.ends_with("token_embedding.weight")) return {dtype, 0, 1};
  if (count == tensor.shape.front()) return {dtype, 1, 0.05};  // norms
  const int64_t inputs = count / tensor.shape.front();
  return {dtype, 0, 1 / std::sqrt(static_cast<double>(inputs))};
}

// FNV-1a: the same on every machine.
uint64_t hash_of(const std::string& text) noexcept {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

struct Piece {
  int64_t begin = 0;  // byte in the file
  int64_t end = 0;
  Spread spread;
  int64_t pool_start = 0;  // byte in the pool
};

// The content of one file: a safetensors header, and how its tensors are made.
struct Layout {
  std::string header;  // with its length before it
  std::vector<Piece> pieces;
  int64_t size = 0;
};

const char* dtype_word(c10::ScalarType dtype) {
  return dtype == c10::kFloat ? "F32" : dtype == c10::kHalf ? "F16" : "BF16";
}

Layout lay_out(const RandomFile& file) {
  const auto element = static_cast<int64_t>(c10::elementSize(file.dtype));
  Layout layout;
  std::string json = "{";
  int64_t offset = 0;
  for (const ExpectedTensor& tensor : file.tensors) {
    const int64_t bytes = num_elements(tensor.shape) * element;
    std::string shape;
    for (const int64_t extent : tensor.shape) shape += core::str(shape.empty() ? "" : ",", extent);
    json += core::str(json.size() > 1 ? "," : "", "\"", tensor.name, "\":{\"dtype\":\"",
                      dtype_word(file.dtype), "\",\"shape\":[", shape, "],\"data_offsets\":[",
                      offset, ",", offset + bytes, "]}");
    const auto start = static_cast<int64_t>(hash_of(file.name + tensor.name) % kPoolElements);
    layout.pieces.push_back(
        {offset, offset + bytes, spread_of(tensor, file.dtype), start * element});
    offset += bytes;
  }
  json += "}";
  json.append((8 - json.size() % 8) % 8, ' ');
  const uint64_t length = json.size();
  layout.header.resize(sizeof length);
  for (size_t i = 0; i < sizeof length; ++i)
    layout.header[i] = static_cast<char>((length >> (8 * i)) & 0xff);
  layout.header += json;
  const auto body = static_cast<int64_t>(layout.header.size());
  for (Piece& piece : layout.pieces) {
    piece.begin += body;
    piece.end += body;
  }
  layout.size = body + offset;
  return layout;
}

class RandomSource final : public ByteSource {
 public:
  RandomSource(const std::string& name, ErrorKind kind, std::shared_ptr<const Layout> layout,
               std::shared_ptr<Pools> pools)
      : ByteSource(name, kind), layout_(std::move(layout)), pools_(std::move(pools)) {}
  [[nodiscard]] int64_t size() const noexcept override { return layout_->size; }

 private:
  void read_range(int64_t offset, std::span<std::byte> out) const override {
    const auto header = static_cast<int64_t>(layout_->header.size());
    if (offset < header) {
      const auto count = std::min(static_cast<size_t>(header - offset), out.size());
      std::memcpy(out.data(), layout_->header.data() + offset, count);
      offset += static_cast<int64_t>(count);
      out = out.subspan(count);
    }
    auto piece =
        std::partition_point(layout_->pieces.begin(), layout_->pieces.end(),
                             [offset](const Piece& candidate) { return candidate.end <= offset; });
    for (; !out.empty(); ++piece) {
      T2V_ASSERT(piece != layout_->pieces.end() && piece->begin <= offset);
      const auto count = std::min(static_cast<size_t>(piece->end - offset), out.size());
      copy(*piece, offset - piece->begin, out.first(count));
      offset += static_cast<int64_t>(count);
      out = out.subspan(count);
    }
  }

  void copy(const Piece& piece, int64_t at, std::span<std::byte> out) const {
    const std::vector<std::byte>& pool = pools_->get(piece.spread);
    auto from = static_cast<size_t>(piece.pool_start + at) % pool.size();
    while (!out.empty()) {
      const size_t count = std::min(pool.size() - from, out.size());
      std::memcpy(out.data(), pool.data() + from, count);
      out = out.subspan(count);
      from = 0;
    }
  }

  std::shared_ptr<const Layout> layout_;
  std::shared_ptr<Pools> pools_;
};

class RandomFolder final : public Storage {
 public:
  RandomFolder(std::string folder, const std::vector<RandomFile>& files,
               std::shared_ptr<const Storage> others)
      : folder_(std::move(folder)), others_(std::move(others)) {
    for (const RandomFile& file : files)
      layouts_[file.name] = std::make_shared<const Layout>(lay_out(file));
  }

  [[nodiscard]] PathKind look(const std::string& path) const override {
    if (path == folder_) return PathKind::kFolder;
    if (!is_inside(path)) return others_->look(path);
    return find(path) ? PathKind::kFile : PathKind::kAbsent;
  }
  [[nodiscard]] std::vector<FolderEntry> list(const std::string& folder) const override {
    if (folder != folder_) return others_->list(folder);
    std::vector<FolderEntry> entries;
    for (const auto& [name, layout] : layouts_)
      entries.push_back({.name = name, .kind = PathKind::kFile, .size = layout->size});
    return entries;
  }
  [[nodiscard]] std::shared_ptr<const ByteSource> open(const std::string& path,
                                                       ErrorKind kind) const override {
    if (!is_inside(path)) return others_->open(path, kind);
    auto layout = find(path);
    T2V_REQUIRE(layout != nullptr, kind, "no such file (", path, ")");
    return std::make_shared<RandomSource>(path, kind, std::move(layout), pools_);
  }

 private:
  [[nodiscard]] bool is_inside(const std::string& path) const {
    return path.starts_with(folder_ + "/");
  }
  // path: inside the folder.
  [[nodiscard]] std::shared_ptr<const Layout> find(const std::string& path) const {
    const auto found = layouts_.find(path.substr(folder_.size() + 1));
    return found == layouts_.end() ? nullptr : found->second;
  }

  std::string folder_;
  std::shared_ptr<const Storage> others_;
  std::map<std::string, std::shared_ptr<const Layout>> layouts_;
  std::shared_ptr<Pools> pools_ = std::make_shared<Pools>();
};

}  // namespace

std::shared_ptr<const Storage> make_random_folder(const std::string& folder,
                                                  const std::vector<RandomFile>& files,
                                                  std::shared_ptr<const Storage> others) {
  T2V_ASSERT(folder.starts_with(kRandomScheme));
  return std::make_shared<RandomFolder>(folder, files, std::move(others));
}

}  // namespace t2v::weights
