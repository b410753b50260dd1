#include "weights/lora.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cctype>

#include "core/check.h"
#include "core/escape.h"
#include "weights/checkpoint.h"
#include "weights/lora_file.h"

namespace t2v::weights {

LoraSet LoraSet::open(const Storage& storage, const std::vector<LoraFile>& files,
                      const std::vector<LoraTarget>& targets, LoraOptions options) {
  LoraSet set;
  const LoraNames names(targets);
  for (const LoraFile& file : files) set.add_file(storage, file, names, options);
  return set;
}

void LoraSet::add_file(const Storage& storage, const LoraFile& file, const LoraNames& names,
                       LoraOptions options) {
  const PathKind kind = storage.look(file.path);
  T2V_REQUIRE(kind == PathKind::kFile, ErrorKind::kModel,
              "cannot open LoRA: ", kind == PathKind::kAbsent ? "no such file" : "it is no file",
              " (", file.path, ")");
  const Checkpoint checkpoint = Checkpoint::open(storage, file.path);
  LoraContent content = read_lora_file(storage, checkpoint, names, options);
  bytes_read_ += checkpoint.bytes_read();
  warnings_.insert(warnings_.end(), content.warnings.begin(), content.warnings.end());
  if (file.strength == 0) return;  // adding nothing could still turn -0 into 0
  paths_.push_back(file.path);
  for (auto& [target, delta] : content.deltas) {
    Entry& entry = entries_[target->name];
    entry.shape = target->shape;
    const size_t index = paths_.size() - 1;
    if (delta.down.defined()) {
      entry.parts.push_back({.down = delta.down,
                             .up = delta.up,
                             .full = {},
                             .scale = file.strength * delta.low_rank_scale,
                             .file = index});
    }
    if (delta.full.defined()) {
      entry.parts.push_back(
          {.down = {}, .up = {}, .full = delta.full, .scale = file.strength, .file = index});
    }
  }
}

const LoraSet::Entry* LoraSet::find(std::string_view name) const noexcept {
  const auto found = entries_.find(name);
  return found == entries_.end() ? nullptr : &found->second;
}

bool LoraSet::is_full(std::string_view name) const noexcept {
  const Entry* entry = find(name);
  return entry != nullptr && std::any_of(entry->parts.begin(), entry->parts.end(),
                                         [](const Part& part) { return part.full.defined(); });
}

bool LoraSet::contains(std::string_view name) const noexcept { return find(name) != nullptr; }

at::Tensor LoraSet::delta(std::string_view name) const {
  const Entry* entry = find(name);
  T2V_ASSERT(entry != nullptr);
  at::Tensor sum = at::zeros(entry->shape, at::kFloat);
  at::Tensor matrix = sum.view({entry->shape.empty() ? 1 : entry->shape[0], -1});
  for (const Part& part : entry->parts) {
    if (part.full.defined()) {
      sum.add_(part.full.to(at::kFloat), part.scale);
    } else {
      matrix.addmm_(part.up.to(at::kFloat), part.down.to(at::kFloat), 1, part.scale);
    }
  }
  return sum;
}

std::optional<SideBranch> LoraSet::branch(std::string_view name) const {
  const Entry* entry = find(name);
  if (!entry) return std::nullopt;
  std::vector<at::Tensor> down;
  std::vector<at::Tensor> up;
  for (const Part& part : entry->parts) {
    T2V_REQUIRE(!part.full.defined(), ErrorKind::kModel, "LoRA: '",
                core::escape_control(std::string(name), 200),
                "' gets a full delta, which has no factors (", paths_[part.file], ")");
    down.push_back(part.down.to(at::kFloat));
    up.push_back(part.up.to(at::kFloat).mul(part.scale));
  }
  return SideBranch{.down = at::cat(down, 0), .up = at::cat(up, 1)};
}

int64_t LoraSet::num_deltas() const noexcept { return static_cast<int64_t>(entries_.size()); }

int64_t LoraSet::bytes() const noexcept {
  int64_t sum = 0;
  for (const auto& [name, entry] : entries_) {
    for (const Part& part : entry.parts) {
      for (const at::Tensor* tensor : {&part.down, &part.up, &part.full}) {
        if (tensor->defined()) sum += static_cast<int64_t>(tensor->nbytes());
      }
    }
  }
  return sum;
}

LoraExpert lora_expert_of(const std::string& path) {
  std::string letters;
  for (const char letter : path) {
    if (letter == '-' || letter == '_' || letter == ' ') continue;
    letters += static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  }
  const size_t high = letters.rfind("highnoise");
  const size_t low = letters.rfind("lownoise");
  if (high == low) return LoraExpert::kBoth;  // neither
  if (low == std::string::npos) return LoraExpert::kHighNoise;
  if (high == std::string::npos) return LoraExpert::kLowNoise;
  return high > low ? LoraExpert::kHighNoise : LoraExpert::kLowNoise;
}

}  // namespace t2v::weights
