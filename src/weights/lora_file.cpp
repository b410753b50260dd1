#include "weights/lora_file.h"

#include <ATen/ops/isfinite.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <utility>

#include "core/check.h"
#include "core/escape.h"
#include "weights/json_file.h"
#include "weights/problem_list.h"

namespace t2v::weights {
namespace {

constexpr int64_t kMaxConfigBytes = 1 << 20;
constexpr size_t kNumRoles = 6;  // up to kFullModulation
constexpr const char* kAdapterFile = "adapter_model.safetensors";

std::string shown(const TensorEntry& entry) {
  return core::str("tensor '", core::escape_control(entry.name, 200), "'");
}

std::string shown(const std::vector<int64_t>& shape) { return core::str(c10::IntArrayRef(shape)); }

bool is_plain_float(const TensorEntry& entry) {
  constexpr std::array kTypes{c10::ScalarType::Float, c10::ScalarType::Half,
                              c10::ScalarType::BFloat16, c10::ScalarType::Double};
  return entry.encoding == Encoding::kPlain &&
         std::find(kTypes.begin(), kTypes.end(), entry.dtype) != kTypes.end();
}

bool is_full(LoraRole role) {
  return role == LoraRole::kFull || role == LoraRole::kFullBias ||
         role == LoraRole::kFullModulation;
}

// A weight as the matrix that factors multiply to: rows = the first dimension.
struct MatrixShape {
  int64_t rows = 0;
  int64_t columns = 0;
};
MatrixShape matrix_of(const std::vector<int64_t>& shape) {
  const int64_t all = num_elements(shape);
  const int64_t rows = shape.empty() ? 1 : shape[0];
  return {.rows = rows, .columns = rows > 0 ? all / rows : 0};
}

// The tensors of one file for one weight, by role.
struct Group {
  const LoraTarget* target = nullptr;
  std::array<const TensorEntry*, kNumRoles> entries{};
  [[nodiscard]] const TensorEntry*& of(LoraRole role) { return entries[static_cast<size_t>(role)]; }
  [[nodiscard]] const TensorEntry* of(LoraRole role) const {
    return entries[static_cast<size_t>(role)];
  }
  [[nodiscard]] const TensorEntry* full() const {
    for (const LoraRole role : {LoraRole::kFull, LoraRole::kFullBias, LoraRole::kFullModulation})
      if (of(role)) return of(role);
    return nullptr;
  }
  [[nodiscard]] bool has_factors() const { return of(LoraRole::kDown) && of(LoraRole::kUp); }
};

class Reader {
 public:
  Reader(const Storage& storage, const Checkpoint& file, const LoraNames& names,
         LoraOptions options)
      : storage_(storage), file_(file), names_(names), options_(options) {}

  LoraContent read() {
    sort_out();
    for (auto& [name, group] : groups_) check(group);
    refuse_offenders();
    const std::optional<double> common_alpha = read_common_alpha();
    for (const auto& [name, group] : groups_) {
      if (group.has_factors() || group.full()) load(group, common_alpha);
    }
    if (content_.deltas.empty()) {
      content_.warnings.push_back(
          core::str("LoRA: nothing in it is for ", expert_words(), " (", file_.path(), ")"));
    }
    return std::move(content_);
  }

 private:
  void sort_out() {
    std::vector<LoraKey> keys;
    bool second_expert = false;
    for (const TensorEntry& entry : file_.tensors()) {
      keys.push_back(parse_lora_key(entry.name));
      second_expert = second_expert || keys.back().second_expert;
    }
    int64_t left_out = 0;
    for (size_t i = 0; i < keys.size(); ++i) {
      if (is_of_other_expert(keys[i], second_expert)) {
        left_out += options_.expert == LoraExpert::kBoth ? 1 : 0;
        continue;
      }
      place(file_.tensors()[i], keys[i]);
    }
    if (left_out > 0) {
      content_.warnings.push_back(
          core::str("LoRA: ", left_out,
                    " tensors of a low-noise expert are left out: this model has one "
                    "transformer (",
                    file_.path(), ")"));
    }
  }

  [[nodiscard]] const char* expert_words() const noexcept {
    if (options_.expert == LoraExpert::kBoth) return "this model";
    return options_.expert == LoraExpert::kHighNoise ? "the high-noise expert"
                                                     : "the low-noise expert";
  }

  // Files of both experts say whose a tensor is by its prefix.
  [[nodiscard]] bool is_of_other_expert(const LoraKey& key, bool second_expert_in_file) const {
    if (options_.expert == LoraExpert::kLowNoise)
      return second_expert_in_file && key.first_expert && !key.second_expert;
    return key.second_expert;
  }

  void place(const TensorEntry& entry, const LoraKey& key) {
    if (key.role == LoraRole::kUnsupported)
      return unsupported_.add(shown(entry), " is of a method that t2v has not (", key.method, ")");
    if (key.role == LoraRole::kUnknown)
      return offenders_.add(shown(entry), " has no name of a LoRA tensor");
    const LoraTarget* target = names_.find(key);
    if (!target) return offenders_.add(shown(entry), " has no counterpart in the model");
    if (!is_plain_float(entry))
      return offenders_.add(shown(entry), " is stored as ", stored_type_name(entry),
                            ", expected F32, F16 or BF16");
    Group& group = groups_[target->name];
    group.target = target;
    const TensorEntry* other = is_full(key.role) ? group.full() : group.of(key.role);
    if (other) return offenders_.add(shown(entry), " and ", shown(*other), " are the same delta");
    group.of(key.role) = &entry;
  }

  // Takes out of the group what cannot be used.
  void check(Group& group) {
    const TensorEntry* down = group.of(LoraRole::kDown);
    const TensorEntry* up = group.of(LoraRole::kUp);
    const TensorEntry* alpha = group.of(LoraRole::kAlpha);
    if (down && !up) offenders_.add(shown(*down), " has no up factor (B) beside it");
    if (up && !down) offenders_.add(shown(*up), " has no down factor (A) beside it");
    if (alpha && !down && !up && !group.full())
      offenders_.add(shown(*alpha), " has no factors beside it");
    if (alpha && num_elements(alpha->shape) != 1) {
      offenders_.add(shown(*alpha), " is ", shown(alpha->shape), ", expected one number");
      group.of(LoraRole::kDown) = nullptr;
    }
    if (down && up && !factors_fit(*down, *up, *group.target)) group.of(LoraRole::kDown) = nullptr;
    for (size_t role = 0; role < kNumRoles; ++role) {
      const TensorEntry*& full = group.entries[role];
      if (full && is_full(static_cast<LoraRole>(role)) && !full_fits(*full, *group.target))
        full = nullptr;
    }
  }

  bool factors_fit(const TensorEntry& down, const TensorEntry& up, const LoraTarget& target) {
    const MatrixShape a = matrix_of(down.shape);
    const MatrixShape b = matrix_of(up.shape);
    const MatrixShape wanted = matrix_of(target.shape);
    if (target.shape.size() >= 2 && down.shape.size() >= 2 && up.shape.size() >= 2 && a.rows > 0 &&
        a.columns == wanted.columns && b.columns == a.rows && b.rows == wanted.rows) {
      return true;
    }
    offenders_.add(shown(down), " is ", shown(down.shape), " and ", shown(up), " ", shown(up.shape),
                   ", expected [r, ", wanted.columns, "] and [", wanted.rows, ", r]");
    return false;
  }

  bool full_fits(const TensorEntry& full, const LoraTarget& target) {
    if (full.shape == target.shape) return true;
    const bool patches = target.name == "patch_embedding.weight" && full.shape.size() == 5 &&
                         full.shape[0] == target.shape[0];
    if (patches) {
      content_.warnings.push_back(core::str("LoRA: ", shown(full), " is left out: it is for ",
                                            full.shape[1], " input channels, the model has ",
                                            target.shape[1], " (", file_.path(), ")"));
    } else {
      offenders_.add(shown(full), " is ", shown(full.shape), ", expected ", shown(target.shape));
    }
    return false;
  }

  void refuse_offenders() {
    T2V_REQUIRE(unsupported_.count() == 0, ErrorKind::kModel,
                "LoRA: ", unsupported_.text("tensors are of methods that t2v has not"), " (",
                file_.path(), "); try another LoRA file");
    if (offenders_.count() == 0) return;
    const std::string text =
        core::str("LoRA: ", offenders_.text("tensors do not fit"), " (", file_.path(), ")");
    T2V_REQUIRE(options_.lenient, ErrorKind::kModel, text,
                "; is it for this model? --lora-lenient leaves them out");
    content_.warnings.push_back(text + "; left out");
    const bool any = std::any_of(groups_.begin(), groups_.end(), [](const auto& named) {
      return named.second.has_factors() || named.second.full();
    });
    T2V_REQUIRE(any, ErrorKind::kModel, "LoRA: no tensor fits this model (", file_.path(), ")");
  }

  // Of all layers, from metadata or the configuration beside the file.
  std::optional<double> read_common_alpha() {
    const auto& metadata = file_.metadata();
    if (const auto own = metadata.find("lora_alpha"); own != metadata.end()) {
      const auto json =
          JsonFile::parse("{\"lora_alpha\": " + own->second + "}", file_.path() + ", metadata");
      return alpha_of(json, "");
    }
    if (const auto own = metadata.find("lora_adapter_metadata"); own != metadata.end()) {
      const auto json = JsonFile::parse(own->second, file_.path() + ", lora_adapter_metadata");
      return alpha_of(json, json.contains("transformer.lora_alpha") ? "transformer." : "");
    }
    if (base_name(file_.path()) != kAdapterFile) return std::nullopt;
    const size_t folder = file_.path().rfind('/');
    const std::string path = folder == std::string::npos
                                 ? "adapter_config.json"
                                 : join_path(file_.path().substr(0, folder), "adapter_config.json");
    if (storage_.look(path) != PathKind::kFile) return std::nullopt;
    return alpha_of(JsonFile::parse(read_whole_file(storage_, path, kMaxConfigBytes), path), "");
  }

  static std::optional<double> alpha_of(const JsonFile& json, const std::string& prefix) {
    if (json.find_bool(prefix + "use_rslora").value_or(false) ||
        json.find_bool(prefix + "use_dora").value_or(false)) {
      json.refuse(prefix + (json.find_bool(prefix + "use_dora").value_or(false) ? "use_dora"
                                                                                : "use_rslora"),
                  "false: t2v has not this method");
    }
    const std::string pattern = prefix + "alpha_pattern";
    if (json.has_value(pattern) && !json.get_object(pattern).keys().empty())
      json.refuse(pattern, "nothing: an alpha for each layer belongs into tensors '.alpha'");
    return json.find_double(prefix + "lora_alpha", 0, 1e6);
  }

  void load(const Group& group, std::optional<double> common_alpha) {
    LoraDelta delta;
    if (group.has_factors()) {
      const MatrixShape wanted = matrix_of(group.target->shape);
      delta.down = load_finite(*group.of(LoraRole::kDown)).reshape({-1, wanted.columns});
      delta.up = load_finite(*group.of(LoraRole::kUp)).reshape({wanted.rows, -1});
      const TensorEntry* own = group.of(LoraRole::kAlpha);
      const auto alpha = own ? load_finite(*own).item<double>() : common_alpha;
      if (alpha) delta.low_rank_scale = *alpha / static_cast<double>(delta.down.size(0));
    }
    if (const TensorEntry* full = group.full()) delta.full = load_finite(*full);
    content_.deltas.emplace_back(group.target, std::move(delta));
  }

  at::Tensor load_finite(const TensorEntry& entry) const {
    at::Tensor tensor = file_.load(entry.name);
    if (tensor.scalar_type() == at::kDouble) tensor = tensor.to(at::kFloat);
    T2V_REQUIRE(at::isfinite(tensor).all().item<bool>(), ErrorKind::kModel, "LoRA: ", shown(entry),
                " holds NaN or infinite values (", file_.path(), ")");
    return tensor;
  }

  const Storage& storage_;
  const Checkpoint& file_;
  const LoraNames& names_;
  LoraOptions options_;
  std::map<std::string, Group> groups_;  // by the target's name
  ProblemList offenders_;
  ProblemList unsupported_;
  LoraContent content_;
};

}  // namespace

LoraContent read_lora_file(const Storage& storage, const Checkpoint& file, const LoraNames& names,
                           LoraOptions options) {
  return Reader(storage, file, names, options).read();
}

}  // namespace t2v::weights
