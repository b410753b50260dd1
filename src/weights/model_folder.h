// Which file or folder each component of a model is, in any layout, told by content.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "t2v/request.h"
#include "weights/checkpoint.h"
#include "weights/file_kind.h"
#include "weights/storage.h"

namespace t2v::weights {

struct ComponentFiles {
  std::string path;    // file, index of shards, or folder with one of them; "" = there is none
  std::string config;  // its config file; "" = there is none
  // Opened when the component was looked for by its content, else null.
  std::shared_ptr<const Checkpoint> checkpoint;

  explicit operator bool() const noexcept { return !path.empty(); }
};

struct ModelFolder {
  std::string path;        // as given; "" when every component is given
  std::string layout;      // "diffusers", "wan", "comfyui", "files"
  std::string class_name;  // model_index.json: "WanPipeline", "WanImageToVideoPipeline", ...; ""
  ComponentFiles transformer;    // the high-noise expert when there are two
  ComponentFiles transformer_2;  // the low-noise expert
  ComponentFiles text_encoder;
  ComponentFiles vae;
  std::string tokenizer_model;   // a SentencePiece file; "" = in the text encoder's file or shipped
  std::string tokenizer_config;  // .../tokenizer/tokenizer_config.json; ""
  std::string scheduler_config;  // .../scheduler/scheduler_config.json; ""
  std::string t2v_json;          // the model's own defaults; ""
  std::optional<double> boundary_ratio;  // share of the training timesteps where experts switch
  bool expand_timesteps = false;         // one timestep per token (TI2V-5B)

  [[nodiscard]] std::string index() const;  // path of model_index.json
};

// path: a model folder in any layout or the file of a transformer with the rest beside it or in
// `components`, which win. Reads model_index.json; in other layouts also the headers of all files
// of tensors. Throws Error{kModel, kRemote}: not there, no model, a component missing, several
// candidates for one (listed, with the flag that chooses).
ModelFolder find_model(const Storage& storage, const std::string& path,
                       const ComponentPaths& components = {});

}  // namespace t2v::weights
