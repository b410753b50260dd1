#include "pipeline/step_cache_table.h"

#include <cmath>
#include <cstddef>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <system_error>

#include "core/atomic_file.h"
#include "core/check.h"
#include "weights/byte_hash.h"
#include "weights/json_file.h"
#include "weights/storage.h"

namespace t2v::pipeline {
namespace {

constexpr const char* kFileName = "t2v-step-cache.json";
constexpr int64_t kMaxTableBytes = 1 << 20;
constexpr double kMaxRatio = 1e3;

void add_text(weights::ByteHash& hash, const std::string& text) {
  hash.add(std::as_bytes(std::span(text.data(), text.size() + 1)));
}

void add_component(const Model& model, const std::string& component, weights::ByteHash& hash) {
  const weights::WeightMap map = open_weights(model, component);
  add_text(hash, map.summary());
  for (const auto& tensor : map.tensors())
    add_text(hash, core::str(tensor.name, " ", core::str(at::IntArrayRef(tensor.shape))));
  for (const char* name : {"patch_embedding.weight", "head.head.weight"}) {
    const at::Tensor values = map.take(name, at::kFloat).contiguous();
    hash.add({static_cast<const std::byte*>(values.const_data_ptr()), values.nbytes()});
  }
}

// One expert's share of stretch_ratios: the first one stays 1.
void stretch(const std::vector<double>& from, int64_t begin, int64_t end, int64_t count,
             std::vector<double>& to) {
  const int64_t own = end - begin;
  T2V_REQUIRE(own > 0 || count == 0, ErrorKind::kUsage,
              "the table of --step-cache mag has no steps of one of the experts that this run "
              "needs; try t2v calibrate-cache with these --steps, --shift and --boundary");
  for (int64_t i = 0; i < count; ++i) {
    const double place = count == 1 ? 0.0
                                    : static_cast<double>(i) * static_cast<double>(own - 1) /
                                          static_cast<double>(count - 1);
    to.push_back(i == 0 ? 1.0 : from.at(static_cast<size_t>(begin + std::llround(place))));
  }
}

}  // namespace

std::string transformer_hash(const Model& model) {
  weights::ByteHash hash;
  add_component(model, "transformer", hash);
  if (model.two_experts()) add_component(model, "transformer_2", hash);
  return hash.finish();
}

std::string default_table_path(const Model& model) {
  const std::string& folder = model.folder.path;
  if (folder.empty() || model.storage->look(folder) != weights::PathKind::kFolder) return "";
  return weights::join_path(folder, kFileName);
}

StepCacheTable read_step_cache_table(const std::string& path, const Model& model) {
  const bool is_own = path == default_table_path(model);
  T2V_REQUIRE(!path.empty() && (!is_own || model.storage->look(path) == weights::PathKind::kFile),
              ErrorKind::kUsage, "--step-cache mag: this model has no table (",
              path.empty() ? kFileName : path,
              "); try t2v calibrate-cache, or --step-cache easy, which needs none");
  std::error_code ignored;
  T2V_REQUIRE(is_own || std::filesystem::exists(path, ignored), ErrorKind::kInput,
              "--step-cache mag: there is no such table (", path,
              "); try t2v calibrate-cache -o FILE, or --step-cache easy, which needs none");
  const auto file =
      is_own ? weights::JsonFile::parse(weights::read_whole_file(*model.storage, path,
                                                                 kMaxTableBytes, ErrorKind::kInput),
                                        path, ErrorKind::kInput)
             : weights::JsonFile::read(path, kMaxTableBytes, ErrorKind::kInput);
  StepCacheTable table;
  table.model = file.find_string("model").value_or("");
  table.model_hash = file.get_string("model_hash");
  table.solver = file.get_string("solver");
  table.sigma_table = file.get_string("sigma_table");
  table.shift = file.get_double("shift", 0, 1e3);
  const int64_t steps = file.get_int("steps", 1, 1000);
  table.boundary = file.get_int("boundary", 0, steps);
  table.cond = file.get_double_list("cond", 0, kMaxRatio);
  table.uncond = file.get_double_list("uncond", 0, kMaxRatio);
  if (table.num_steps() != steps) file.refuse("cond", core::str(steps, " numbers, as steps says"));
  T2V_REQUIRE(table.model_hash == transformer_hash(model), ErrorKind::kUsage,
              "--step-cache mag: the table is of other weights (", path, ", made with '",
              table.model, "'); try t2v calibrate-cache with this model");
  return table;
}

void write_step_cache_table(const std::string& path, const StepCacheTable& table) {
  const nlohmann::ordered_json json = {{"model", table.model},
                                       {"model_hash", table.model_hash},
                                       {"steps", table.num_steps()},
                                       {"solver", table.solver},
                                       {"sigma_table", table.sigma_table},
                                       {"shift", table.shift},
                                       {"boundary", table.boundary},
                                       {"cond", table.cond},
                                       {"uncond", table.uncond}};
  const std::string text = json.dump(1) + "\n";
  core::AtomicFile file(path);
  file.write(text.data(), text.size());
  file.commit();
}

std::vector<double> stretch_ratios(const StepCacheTable& table, int64_t num_steps,
                                   int64_t boundary) {
  std::vector<double> ratios;
  stretch(table.cond, 0, table.boundary, boundary, ratios);
  stretch(table.cond, table.boundary, table.num_steps(), num_steps - boundary, ratios);
  return ratios;
}

}  // namespace t2v::pipeline
