#include "weights/weight_map.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/isfinite.h>

#include <algorithm>
#include <string>
#include <unordered_map>

#include "core/check.h"
#include "core/escape.h"
#include "weights/problem_list.h"

namespace t2v::weights {
namespace {

// Norms, biases and modulation (6 x 5120 of the 14B model); at most ATen's grain, so one thread
// does it.
constexpr int64_t kFiniteCheckElements = 32768;

std::string shown(std::string_view name) {
  return core::str("tensor '", core::escape_control(name, 200), "'");
}

std::string shown(const std::vector<int64_t>& shape) { return core::str(c10::IntArrayRef(shape)); }

bool is_plain_float(c10::ScalarType dtype) noexcept {
  return dtype == c10::ScalarType::Float || dtype == c10::ScalarType::BFloat16 ||
         dtype == c10::ScalarType::Half || dtype == c10::ScalarType::Double;
}

// What is misshapen says most, so it comes first; missing and extra tensors share the rest.
std::string join_problems(const ProblemList& misfits, const ProblemList& missing,
                          const ProblemList& extra) {
  const size_t rest = ProblemList::kMaxListed - misfits.listed().size();
  const size_t num_extra =
      std::min(extra.listed().size(), std::max(rest / 2, rest - std::min(rest, missing.count())));
  const size_t num_missing = std::min(missing.listed().size(), rest - num_extra);
  std::vector<std::string> lines = misfits.listed();
  lines.insert(lines.end(), missing.listed().begin(),
               missing.listed().begin() + static_cast<std::ptrdiff_t>(num_missing));
  lines.insert(lines.end(), extra.listed().begin(),
               extra.listed().begin() + static_cast<std::ptrdiff_t>(num_extra));
  const size_t count = misfits.count() + missing.count() + extra.count();
  if (count == 1) return lines[0];
  std::string text = core::str(count, " tensors do not fit: ", lines[0]);
  for (size_t i = 1; i < lines.size(); ++i) text += "; " + lines[i];
  return count > lines.size() ? core::str(text, "; and ", count - lines.size(), " more") : text;
}

using Wanted = std::vector<const ExpectedTensor*>;  // sorted by name

Wanted sorted_by_name(const std::vector<ExpectedTensor>& tensors) {
  Wanted wanted;
  wanted.reserve(tensors.size());
  for (const ExpectedTensor& tensor : tensors) wanted.push_back(&tensor);
  std::sort(wanted.begin(), wanted.end(),
            [](const ExpectedTensor* a, const ExpectedTensor* b) { return a->name < b->name; });
  return wanted;
}

bool is_wanted(const Wanted& wanted, const std::string& name) {
  const auto place =
      std::lower_bound(wanted.begin(), wanted.end(), name,
                       [](const ExpectedTensor* a, const std::string& b) { return a->name < b; });
  return place != wanted.end() && (*place)->name == name;
}

}  // namespace

WeightMap::WeightMap(std::shared_ptr<const Checkpoint> checkpoint, ModelPart part,
                     std::string label)
    : checkpoint_(std::move(checkpoint)),
      part_(part),
      label_(std::move(label)),
      schemes_(std::make_shared<const SchemeTable>(find_schemes(*checkpoint_))) {
  std::unordered_map<const TensorEntry*, const std::pair<const std::string, QuantisedLinear>*>
      quantised;
  for (const auto& linear : schemes_->linears) quantised.emplace(linear.second.weight, &linear);
  std::vector<std::string> names;
  for (const TensorEntry& entry : checkpoint_->tensors()) {
    if (schemes_->companions.count(entry.name) != 0) continue;
    const auto linear = quantised.find(&entry);
    const bool plain = linear == quantised.end();
    names.push_back(plain ? entry.name : linear->second->first);
    tensors_.push_back({{}, &entry, plain ? nullptr : &linear->second->second});
  }
  keys_ = std::make_shared<const KeyMap>(part, names);
  for (size_t i = 0; i < names.size(); ++i) tensors_[i].canonical = keys_->canonical()[i];
  std::stable_sort(tensors_.begin(), tensors_.end(),
                   [](const Mapped& a, const Mapped& b) { return a.canonical < b.canonical; });
  // UMT5 files may hold the tied embedding under both of its names: the same table, kept once.
  const auto same = [this](const Mapped& a, const Mapped& b) {
    if (a.canonical != b.canonical) return false;
    T2V_REQUIRE(part_ == ModelPart::kTextEncoder && a.canonical == "token_embedding.weight" &&
                    a.entry->shape == b.entry->shape && a.entry->dtype == b.entry->dtype,
                checkpoint_->error_kind(), label_, ": ", shown(a.entry->name), " and ",
                shown(b.entry->name), " are the same weight (", checkpoint_->file_of(*b.entry),
                ")");
    return true;
  };
  tensors_.erase(std::unique(tensors_.begin(), tensors_.end(), same), tensors_.end());
}

WeightMap WeightMap::open(const std::string& path, ModelPart part, std::string label) {
  return WeightMap(std::make_shared<const Checkpoint>(Checkpoint::open(path)), part,
                   std::move(label));
}

void WeightMap::check(const Expectations& expected) const {
  const Wanted wanted = sorted_by_name(expected.tensors);
  ProblemList misfits;
  ProblemList missing;
  ProblemList extra;
  const TensorEntry* culprit = nullptr;
  for (const ExpectedTensor* tensor : wanted) {
    const Mapped* found = find(tensor->name);
    if (found == nullptr) {
      missing.add(shown(name_in_file(tensor->name)), " is missing");
      continue;
    }
    if (found->entry->shape != tensor->shape) {
      misfits.add(shown(found->entry->name), " is ", shown(found->entry->shape), ", expected ",
                  shown(tensor->shape));
    } else if (!found->is_quantised() && !is_plain_float(found->entry->dtype)) {
      misfits.add(shown(found->entry->name), " is stored as ", stored_type_name(*found->entry),
                  " without a scale, expected a float type");
    } else {
      continue;
    }
    if (culprit == nullptr) culprit = found->entry;
  }
  for (const Mapped& mapped : tensors_) {
    if (expected.ignore_extra || is_wanted(wanted, mapped.canonical)) continue;
    const bool ignored = std::any_of(
        expected.ignored_prefixes.begin(), expected.ignored_prefixes.end(),
        [&](const std::string& prefix) { return mapped.canonical.starts_with(prefix); });
    if (ignored) continue;
    extra.add(shown(mapped.entry->name), " is not expected");
    if (culprit == nullptr) culprit = mapped.entry;
  }
  if (misfits.count() + missing.count() + extra.count() == 0) return;
  throw Error(
      checkpoint_->error_kind(),
      core::str(label_, ": ", join_problems(misfits, missing, extra), " (",
                culprit != nullptr ? checkpoint_->file_of(*culprit) : where(), "); ",
                expected.looks_like.empty() ? "" : "this looks like " + expected.looks_like + "; ",
                "is this the checkpoint for --model?"));
}

const std::string& WeightMap::where() const noexcept {
  return checkpoint_->files().size() == 1 ? checkpoint_->files()[0]->name() : checkpoint_->path();
}

const WeightMap::Mapped* WeightMap::find(std::string_view name) const noexcept {
  const auto place = std::lower_bound(
      tensors_.begin(), tensors_.end(), name,
      [](const Mapped& mapped, std::string_view key) { return mapped.canonical < key; });
  return place != tensors_.end() && place->canonical == name ? &*place : nullptr;
}

std::string WeightMap::name_in_file(std::string_view canonical) const {
  return keys_->in_file(canonical);
}

const WeightMap::Mapped& WeightMap::mapped(std::string_view name) const {
  const Mapped* found = find(name);
  T2V_REQUIRE(found != nullptr, checkpoint_->error_kind(), label_, ": ", shown(name_in_file(name)),
              " is missing (", where(), ")");
  return *found;
}

bool WeightMap::contains(std::string_view name) const noexcept { return find(name) != nullptr; }

const std::vector<int64_t>& WeightMap::shape(std::string_view name) const {
  return mapped(name).entry->shape;
}

const std::vector<int64_t>& WeightMap::shape(std::string_view name, size_t rank) const {
  const TensorEntry& found = *mapped(name).entry;
  T2V_REQUIRE(found.shape.size() == rank, checkpoint_->error_kind(), label_, ": ",
              shown(found.name), " is ", shown(found.shape), ", expected ", rank, " dimensions (",
              checkpoint_->file_of(found), ")");
  return found.shape;
}

int64_t WeightMap::count_blocks(std::string_view prefix) const {
  for (int64_t count = 0;; ++count) {
    if (entries(core::str(prefix, count, ".")).empty()) return count;
  }
}

std::vector<ExpectedTensor> WeightMap::tensors() const {
  std::vector<ExpectedTensor> all;
  for (const Mapped& mapped : tensors_) all.push_back({mapped.canonical, mapped.entry->shape});
  return all;
}

std::vector<WeightMap::NamedEntry> WeightMap::entries(std::string_view prefix) const {
  std::vector<NamedEntry> found;
  auto place = std::lower_bound(
      tensors_.begin(), tensors_.end(), prefix,
      [](const Mapped& mapped, std::string_view key) { return mapped.canonical < key; });
  for (; place != tensors_.end() && place->canonical.starts_with(prefix); ++place) {
    found.emplace_back(place->canonical, place->entry);
    if (place->scheme != nullptr && place->scheme->scale != nullptr)
      found.emplace_back(place->canonical, place->scheme->scale);
  }
  return found;
}

const WeightMap::Mapped& WeightMap::convertible(std::string_view name) const {
  const Mapped& found = mapped(name);
  T2V_REQUIRE(found.is_quantised() || is_plain_float(found.entry->dtype), checkpoint_->error_kind(),
              label_, ": ", shown(found.entry->name), " is stored as ",
              stored_type_name(*found.entry), " without a scale, expected a float type (",
              checkpoint_->file_of(*found.entry), ")");
  return found;
}

void WeightMap::require_finite(const TensorEntry& entry, const at::Tensor& tensor) const {
  if (tensor.numel() > kFiniteCheckElements) return;
  T2V_REQUIRE(at::isfinite(tensor).all().item<bool>(), checkpoint_->error_kind(), label_, ": ",
              shown(entry.name), " holds NaN or infinite values (", checkpoint_->file_of(entry),
              ")");
}

// A low-rank delta of a quantised weight goes beside it (side_branch), every other one into it.
bool WeightMap::has_delta(const Mapped& mapped) const {
  return loras_ && loras_->contains(mapped.canonical) &&
         (!mapped.is_quantised() || loras_->is_full(mapped.canonical));
}

c10::ScalarType WeightMap::float_type(std::string_view name) const {
  const Mapped& found = mapped(name);
  const c10::ScalarType type = found.entry->dtype;
  const bool narrow = type == c10::ScalarType::BFloat16 || type == c10::ScalarType::Half;
  return narrow && !found.is_quantised() && !has_delta(found) ? type : c10::ScalarType::Float;
}

std::optional<SideBranch> WeightMap::side_branch(std::string_view name) const {
  if (!loras_ || !loras_->contains(name)) return std::nullopt;
  return mapped(name).is_quantised() && !loras_->is_full(name) ? loras_->branch(name)
                                                               : std::nullopt;
}

StoredTensor WeightMap::stored(const Mapped& mapped, const ReadEntry& read) const {
  StoredTensor stored;
  stored.payload = read(*mapped.entry);
  stored.encoding = mapped.entry->encoding;
  stored.shape = mapped.entry->shape;
  if (mapped.scheme == nullptr) return stored;
  if (mapped.scheme->scale != nullptr) stored.scale = read(*mapped.scheme->scale).to(at::kFloat);
  stored.block_scale = mapped.scheme->block_scale;
  stored.rotation = mapped.scheme->rotation;
  return stored;
}

void WeightMap::convert_into(std::string_view name, at::Tensor& destination,
                             const ReadEntry& read) const {
  const Mapped& found = convertible(name);
  T2V_ASSERT(destination.is_contiguous());
  T2V_REQUIRE(destination.sizes() == c10::IntArrayRef(found.entry->shape),
              checkpoint_->error_kind(), label_, ": ", shown(found.entry->name), " is ",
              shown(found.entry->shape), ", expected ", destination.sizes(), " (",
              checkpoint_->file_of(*found.entry), ")");
  if (has_delta(found)) {
    at::Tensor sum = at::empty(found.entry->shape, at::kFloat);
    expand_into(stored(found, read), sum);
    sum.add_(loras_->delta(name));
    destination.copy_(sum);
  } else if (found.is_quantised()) {
    StoredTensor packed = stored(found, read);
    packed.payload = packed.payload.to(destination.device(), /*non_blocking=*/true);
    if (packed.scale.defined()) packed.scale = packed.scale.to(destination.device());
    expand_into(packed, destination);
  } else {
    destination.copy_(read(*found.entry), /*non_blocking=*/true);
  }
  require_finite(*found.entry, destination);
}

at::Tensor WeightMap::convert(std::string_view name, c10::ScalarType dtype,
                              const ReadEntry& read) const {
  const Mapped& found = convertible(name);
  if (!found.is_quantised() && found.entry->dtype == dtype && !has_delta(found)) {
    at::Tensor raw = read(*found.entry);
    require_finite(*found.entry, raw);
    return raw;
  }
  at::Tensor converted = at::empty(found.entry->shape, at::TensorOptions().dtype(dtype));
  convert_into(name, converted, read);
  return converted;
}

at::Tensor WeightMap::load(const TensorEntry& entry) const {
  const bool plain = entry.encoding == Encoding::kPlain;
  at::Tensor raw = plain ? at::empty(entry.shape, at::TensorOptions().dtype(entry.dtype))
                         : at::empty({entry.bytes}, at::kByte);
  checkpoint_->files()[static_cast<size_t>(entry.file_index)]->read(
      entry.offset, {static_cast<std::byte*>(raw.mutable_data_ptr()), raw.nbytes()});
  return raw;
}

at::Tensor WeightMap::take(std::string_view name, c10::ScalarType dtype) const {
  return convert(name, dtype, [this](const TensorEntry& entry) { return load(entry); });
}

void WeightMap::take_into(std::string_view name, at::Tensor& destination) const {
  const Mapped& found = convertible(name);
  if (found.is_quantised() || has_delta(found)) {
    convert_into(name, destination, [this](const TensorEntry& entry) { return load(entry); });
    return;
  }
  checkpoint_->load_into(found.entry->name, destination);
  require_finite(*found.entry, destination);
}

at::Tensor WeightMap::take_rows(std::string_view name, std::span<const int64_t> rows,
                                c10::ScalarType dtype) const {
  const Mapped& found = convertible(name);
  const TensorEntry& entry = *found.entry;
  T2V_REQUIRE(entry.shape.size() == 2 && entry.shape[0] > 0, checkpoint_->error_kind(), label_,
              ": ", shown(entry.name), " is ", shown(entry.shape), ", expected a table (",
              checkpoint_->file_of(entry), ")");
  T2V_REQUIRE(found.scheme == nullptr || !found.scheme->block_scale, checkpoint_->error_kind(),
              label_, ": ", shown(entry.name),
              " is a table with one scale for each 128x128 block, which is not supported (",
              checkpoint_->file_of(entry), ")");
  const int64_t row_bytes = entry.bytes / entry.shape[0];
  std::vector<int64_t> shape = {static_cast<int64_t>(rows.size()), entry.shape[1]};
  const at::Tensor bytes = at::empty({shape[0], row_bytes}, at::kByte);
  const ByteSource& file = *checkpoint_->files()[static_cast<size_t>(entry.file_index)];
  for (int64_t i = 0; i < shape[0]; ++i) {
    const int64_t row = rows[static_cast<size_t>(i)];
    T2V_REQUIRE(row >= 0 && row < entry.shape[0], checkpoint_->error_kind(), label_, ": ",
                shown(entry.name), " has ", entry.shape[0], " rows, row ", row,
                " was asked for; do tokenizer and text encoder belong together? (",
                checkpoint_->file_of(entry), ")");
    file.read(entry.offset + row * row_bytes, {static_cast<std::byte*>(bytes[i].mutable_data_ptr()),
                                               static_cast<size_t>(row_bytes)});
  }
  const auto read = [&](const TensorEntry& wanted) -> at::Tensor {
    if (&wanted != found.entry) return load(wanted);
    return entry.encoding == Encoding::kPlain ? bytes.view(entry.dtype).view(shape)
                                              : bytes.view({-1});
  };
  StoredTensor table = stored(found, read);
  table.shape = shape;
  if (table.scale.defined() && table.scale.numel() == entry.shape[0] && entry.shape[0] > 1) {
    const at::Tensor index = at::empty({shape[0]}, at::kLong);
    std::copy(rows.begin(), rows.end(), index.mutable_data_ptr<int64_t>());
    table.scale = table.scale.view({-1}).index_select(0, index);
  }
  at::Tensor loaded = at::empty(shape, at::TensorOptions().dtype(dtype));
  expand_into(table, loaded);
  T2V_REQUIRE(at::isfinite(loaded).all().item<bool>(), checkpoint_->error_kind(), label_, ": ",
              shown(entry.name), " holds NaN or infinite values (", checkpoint_->file_of(entry),
              ")");
  return loaded;
}

}  // namespace t2v::weights
