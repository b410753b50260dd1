// Finds the components of a model folder (diffusers layout), by content.
#pragma once

#include <optional>
#include <string>

namespace t2v::weights {

// Paths are the given path joined with names; "" means the model has none.
struct ModelFolder {
  std::string path;              // as given
  std::string class_name;        // model_index.json: "WanPipeline", "WanImageToVideoPipeline", ...
  std::string text_encoder;      // folder
  std::string transformer;       // folder; the high-noise expert when there are two
  std::string transformer_2;     // folder of the low-noise expert; ""
  std::string vae;               // folder
  std::string tokenizer_model;   // .../tokenizer/spiece.model
  std::string tokenizer_config;  // .../tokenizer/tokenizer_config.json; ""
  std::string scheduler_config;  // .../scheduler/scheduler_config.json
  std::string t2v_json;          // the model's own defaults; ""
  std::optional<double> boundary_ratio;  // share of the training timesteps where experts switch
  bool expand_timesteps = false;         // one timestep per token (TI2V-5B)
};

// Reads model_index.json and looks for the files; reads no config and no weights. Throws
// Error{kModel}: not there, not a folder, empty, another layout (recognised and named), a component
// or its file missing.
ModelFolder open_model_folder(const std::string& path);

}  // namespace t2v::weights
