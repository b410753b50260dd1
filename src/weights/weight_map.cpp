#include "weights/weight_map.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>

#include <algorithm>
#include <string>

#include "core/check.h"
#include "core/escape.h"
#include "weights/safetensors.h"

namespace t2v::weights {
namespace {

constexpr size_t kMaxListed = 10;
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

// Problems of one kind: all are counted, the first few are kept.
class Problems {
 public:
  template <typename... Parts>
  void add(const Parts&... parts) {
    if (count_++ < kMaxListed) listed_.push_back(core::str(parts...));
  }
  [[nodiscard]] size_t count() const noexcept { return count_; }
  [[nodiscard]] const std::vector<std::string>& listed() const noexcept { return listed_; }

 private:
  size_t count_ = 0;
  std::vector<std::string> listed_;
};

// What is misshapen says most, so it comes first; missing and extra tensors share the rest.
std::string join_problems(const Problems& misfits, const Problems& missing, const Problems& extra) {
  const size_t rest = kMaxListed - misfits.listed().size();
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
    : checkpoint_(std::move(checkpoint)), part_(part), label_(std::move(label)) {
  std::vector<std::string> names;
  names.reserve(checkpoint_->tensors().size());
  for (const TensorEntry& entry : checkpoint_->tensors()) names.push_back(entry.name);
  names = strip_prefixes(names);
  for (size_t i = 0; i < names.size(); ++i) {
    std::string canonical = canonical_name(part, names[i]);
    framework_names_ = framework_names_ || canonical != names[i];
    tensors_.push_back({std::move(canonical), &checkpoint_->tensors()[i]});
  }
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
  Problems misfits;
  Problems missing;
  Problems extra;
  const TensorEntry* culprit = nullptr;
  for (const ExpectedTensor* tensor : wanted) {
    const TensorEntry* found = find(tensor->name);
    if (found == nullptr) {
      missing.add(shown(name_in_file(tensor->name)), " is missing");
      continue;
    }
    if (found->shape != tensor->shape) {
      misfits.add(shown(found->name), " is ", shown(found->shape), ", expected ",
                  shown(tensor->shape));
    } else if (!is_plain_float(found->dtype)) {
      misfits.add(shown(found->name), " is stored as ", safetensors_dtype_name(found->dtype),
                  ", which this version does not read");
    } else {
      continue;
    }
    if (culprit == nullptr) culprit = found;
  }
  for (const Mapped& mapped : tensors_) {
    if (is_wanted(wanted, mapped.canonical)) continue;
    const bool ignored = std::any_of(
        expected.ignored_prefixes.begin(), expected.ignored_prefixes.end(),
        [&](const std::string& prefix) { return mapped.canonical.starts_with(prefix); });
    if (ignored) continue;
    extra.add(shown(mapped.entry->name), " is not expected");
    if (culprit == nullptr) culprit = mapped.entry;
  }
  if (misfits.count() + missing.count() + extra.count() == 0) return;
  throw Error(checkpoint_->error_kind(),
              core::str(label_, ": ", join_problems(misfits, missing, extra), " (",
                        culprit != nullptr ? checkpoint_->file_of(*culprit) : where(),
                        "); is this the checkpoint for --model?"));
}

const std::string& WeightMap::where() const noexcept {
  return checkpoint_->files().size() == 1 ? checkpoint_->files()[0]->name() : checkpoint_->path();
}

const TensorEntry* WeightMap::find(std::string_view name) const noexcept {
  const auto place = std::lower_bound(
      tensors_.begin(), tensors_.end(), name,
      [](const Mapped& mapped, std::string_view key) { return mapped.canonical < key; });
  return place != tensors_.end() && place->canonical == name ? place->entry : nullptr;
}

std::string WeightMap::name_in_file(std::string_view canonical) const {
  return framework_names_ ? framework_name(part_, canonical) : std::string(canonical);
}

const TensorEntry& WeightMap::entry(std::string_view name) const {
  const TensorEntry* found = find(name);
  T2V_REQUIRE(found != nullptr, checkpoint_->error_kind(), label_, ": ", shown(name_in_file(name)),
              " is missing (", where(), ")");
  return *found;
}

bool WeightMap::contains(std::string_view name) const noexcept { return find(name) != nullptr; }

const std::vector<int64_t>& WeightMap::shape(std::string_view name) const {
  return entry(name).shape;
}

const std::vector<int64_t>& WeightMap::shape(std::string_view name, size_t rank) const {
  const TensorEntry& found = entry(name);
  T2V_REQUIRE(found.shape.size() == rank, checkpoint_->error_kind(), label_, ": ",
              shown(found.name), " is ", shown(found.shape), ", expected ", rank, " dimensions (",
              checkpoint_->file_of(found), ")");
  return found.shape;
}

c10::ScalarType WeightMap::dtype(std::string_view name) const { return entry(name).dtype; }

int64_t WeightMap::count_blocks(std::string_view prefix) const {
  for (int64_t count = 0;; ++count) {
    const std::string start = core::str(prefix, count, ".");
    const auto place = std::lower_bound(
        tensors_.begin(), tensors_.end(), start,
        [](const Mapped& mapped, const std::string& key) { return mapped.canonical < key; });
    if (place == tensors_.end() || !place->canonical.starts_with(start)) return count;
  }
}

const TensorEntry& WeightMap::convertible(std::string_view name) const {
  const TensorEntry& found = entry(name);
  T2V_REQUIRE(is_plain_float(found.dtype), checkpoint_->error_kind(), label_, ": ",
              shown(found.name), " is stored as ", safetensors_dtype_name(found.dtype),
              ", which this version does not read (", checkpoint_->file_of(found), ")");
  return found;
}

void WeightMap::require_finite(const TensorEntry& entry, const at::Tensor& tensor) const {
  if (tensor.numel() > kFiniteCheckElements) return;
  T2V_REQUIRE(at::isfinite(tensor).all().item<bool>(), checkpoint_->error_kind(), label_, ": ",
              shown(entry.name), " holds NaN or infinite values (", checkpoint_->file_of(entry),
              ")");
}

at::Tensor WeightMap::take(std::string_view name, c10::ScalarType dtype) const {
  at::Tensor loaded = at::empty(entry(name).shape, at::TensorOptions().dtype(dtype));
  take_into(name, loaded);
  return loaded;
}

at::Tensor WeightMap::take_rows(std::string_view name, std::span<const int64_t> rows,
                                c10::ScalarType dtype) const {
  const TensorEntry& found = convertible(name);
  const at::Tensor loaded = checkpoint_->load_rows(found.name, rows).to(dtype);
  T2V_REQUIRE(at::isfinite(loaded).all().item<bool>(), checkpoint_->error_kind(), label_, ": ",
              shown(found.name), " holds NaN or infinite values (", checkpoint_->file_of(found),
              ")");
  return loaded;
}

void WeightMap::take_into(std::string_view name, at::Tensor& destination) const {
  const TensorEntry& found = convertible(name);
  checkpoint_->load_into(found.name, destination);
  require_finite(found, destination);
}

}  // namespace t2v::weights
