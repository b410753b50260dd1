#include "weights/model_layout.h"

#include <algorithm>
#include <vector>

#include "core/check.h"
#include "weights/json_file.h"

namespace t2v::weights {
namespace {

constexpr const char* kIndexName = "model_index.json";

// A component's entry in the index: [library, class], or [null, null] for none.
std::string component_class(const JsonFile& index, const std::string& component) {
  if (!index.has_value(component)) return "";
  const std::vector<std::string> entry = index.get_string_list(component);
  if (entry.size() != 2 || entry[0].empty() != entry[1].empty())
    index.refuse(component, "[library, class]");
  return entry[1];
}

// The folder of a component, with the file that every such folder has.
std::string component_folder(const Storage& storage, const std::string& model,
                             const char* component, const char* needed) {
  const std::string folder = join_path(model, component);
  const PathKind kind = storage.look(folder);
  T2V_REQUIRE(kind != PathKind::kAbsent, ErrorKind::kModel, "incomplete model: component '",
              component, "' is named in ", kIndexName, " but is not there (", folder,
              "); try to download it again");
  T2V_REQUIRE(kind == PathKind::kFolder, ErrorKind::kModel, "broken model: component '", component,
              "' is not a folder (", folder, ")");
  const std::string file = join_path(folder, needed);
  T2V_REQUIRE(storage.look(file) != PathKind::kAbsent, ErrorKind::kModel,
              "incomplete model: component '", component, "' has no '", needed, "' (", file,
              "); try to download it again");
  return folder;
}

void require_class(const JsonFile& index, const std::string& component,
                   const std::vector<std::string>& known) {
  const std::string name = component_class(index, component);
  if (name.empty()) index.refuse(component, "[library, class]; this model has no such component");
  if (std::find(known.begin(), known.end(), name) == known.end())
    index.refuse(component, "class " + known[0]);
}

std::string pipeline_class(const JsonFile& index) {
  std::string name = index.get_string("_class_name");
  if (!name.starts_with("Wan") || !name.ends_with("Pipeline"))
    index.refuse("_class_name", "\"WanPipeline\"");
  return name;
}

ComponentFiles component_files(const Storage& storage, const JsonFile& index,
                               const std::string& model, const char* component,
                               const std::string& class_name) {
  require_class(index, component, {class_name});
  ComponentFiles files;
  files.path = component_folder(storage, model, component, "config.json");
  files.config = join_path(files.path, "config.json");
  return files;
}

std::string if_there(const Storage& storage, const std::string& path) {
  return storage.look(path) == PathKind::kAbsent ? "" : path;
}

}  // namespace

bool is_diffusers_folder(const Storage& storage, const std::string& path) {
  return storage.look(join_path(path, kIndexName)) != PathKind::kAbsent;
}

std::string ModelFolder::index() const { return join_path(path, kIndexName); }

ModelFolder open_diffusers_folder(const Storage& storage, const std::string& path,
                                  const ComponentPaths& components) {
  const JsonFile index = JsonFile::read(*storage.open(join_path(path, kIndexName)));
  ModelFolder folder;
  folder.path = path;
  folder.layout = "diffusers";
  folder.class_name = pipeline_class(index);
  folder.boundary_ratio = index.find_double("boundary_ratio", 0.0, 1.0);
  folder.expand_timesteps = index.find_bool("expand_timesteps").value_or(false);
  const std::string transformer_class = "WanTransformer3DModel";
  if (components.transformer.empty())
    folder.transformer = component_files(storage, index, path, "transformer", transformer_class);
  if (components.transformer_low.empty() && !component_class(index, "transformer_2").empty())
    folder.transformer_2 =
        component_files(storage, index, path, "transformer_2", transformer_class);
  if (components.text_encoder.empty())
    folder.text_encoder = component_files(storage, index, path, "text_encoder", "UMT5EncoderModel");
  if (components.vae.empty())
    folder.vae = component_files(storage, index, path, "vae", "AutoencoderKLWan");
  if (components.tokenizer.empty()) {
    const std::string tokenizer = component_folder(storage, path, "tokenizer", "spiece.model");
    folder.tokenizer_model = join_path(tokenizer, "spiece.model");
    folder.tokenizer_config = if_there(storage, join_path(tokenizer, "tokenizer_config.json"));
  }
  const std::string scheduler =
      component_folder(storage, path, "scheduler", "scheduler_config.json");
  folder.scheduler_config = join_path(scheduler, "scheduler_config.json");
  folder.t2v_json = if_there(storage, join_path(path, "t2v.json"));
  return folder;
}

}  // namespace t2v::weights
