#include "pipeline/model.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "core/check.h"
#include "core/module.h"
#include "models/umt5/encoder.h"
#include "models/wan/transformer.h"
#include "pipeline/random_model.h"
#include "weights/json_file.h"
#include "weights/model_scan.h"

namespace t2v::pipeline {
namespace {

using weights::ComponentFiles;
using weights::JsonFile;
using weights::ModelPart;
using weights::WeightMap;

constexpr int64_t kDefaultTextLen = 512;
constexpr int64_t kMaxTokenizerBytes = int64_t{256} << 20;
constexpr int64_t kShippedExtraIds = 300;                 // of the tokenizer of UMT5-XXL
constexpr const char* kTokenizerTensor = "spiece_model";  // in text encoder files for ComfyUI

std::optional<JsonFile> read_config(const Model& m, const std::string& path) {
  if (path.empty()) return std::nullopt;
  return JsonFile::read(*m.storage->open(path));
}

// What stands for a component in messages.
const std::string& place_of(const ComponentFiles& files) {
  return files.config.empty() ? files.path : files.config;
}

void open_checkpoints(Model& m) {
  for (ComponentFiles* files :
       {&m.folder.transformer, &m.folder.transformer_2, &m.folder.text_encoder, &m.folder.vae}) {
    if (*files && !files->checkpoint)
      files->checkpoint = weights::open_checkpoint(*m.storage, files->path);
  }
}

void read_specs(Model& m) {
  m.text_encoder = models::text_encoder_spec(open_weights(m, "text_encoder"),
                                             read_config(m, m.folder.text_encoder.config));
  m.transformer = models::transformer_spec(open_weights(m, "transformer"),
                                           read_config(m, m.folder.transformer.config));
  m.vae = models::vae::vae_spec(open_weights(m, "vae"), read_config(m, m.folder.vae.config));
  if (!m.two_experts()) return;
  const auto low = models::transformer_spec(open_weights(m, "transformer_2"),
                                            read_config(m, m.folder.transformer_2.config));
  T2V_REQUIRE(low == m.transformer, ErrorKind::kModel,
              "the two experts differ: ", place_of(m.folder.transformer), " looks like ",
              looks_like(m.transformer, false), ", ", place_of(m.folder.transformer_2), " like ",
              looks_like(low, false), "; do transformer and transformer_2 belong together?");
}

// "<file>: 'key'" with a config, "<file>: the key" without.
std::string fact(const ComponentFiles& files, const char* key) {
  return core::str(place_of(files), ": '", key, "'");
}

// Things that must hold between components.
void check_together(const Model& m) {
  const ComponentFiles& transformer = m.folder.transformer;
  T2V_REQUIRE(m.transformer.text_size == m.text_encoder.size, ErrorKind::kModel,
              fact(transformer, "text_dim"), " is ", m.transformer.text_size, ", expected ",
              m.text_encoder.size, " ('d_model' of the text encoder)");
  T2V_REQUIRE(m.transformer.out_channels == m.vae.z_dim, ErrorKind::kModel,
              fact(transformer, "out_channels"), " is ", m.transformer.out_channels, ", expected ",
              m.vae.z_dim, " ('z_dim' of the VAE)");
  const int64_t in = m.transformer.in_channels;
  const bool takes_image = m.variant.task == ModelTask::kImageToVideo;
  T2V_REQUIRE(in == m.vae.z_dim || takes_image, ErrorKind::kModel, fact(transformer, "in_channels"),
              " is ", in, ", expected ", m.vae.z_dim, " ('z_dim' of the VAE) or ",
              2 * m.vae.z_dim + 4, " (image-to-video)");
  T2V_REQUIRE(m.vocabulary <= m.text_encoder.vocab_size, ErrorKind::kModel,
              fact(m.folder.text_encoder, "vocab_size"), " is ", m.text_encoder.vocab_size,
              ", expected at least ", m.vocabulary, " (entries of ", m.tokenizer_name,
              "); try --tokenizer");
}

// model_max_length of the tokenizer's config.
std::optional<int64_t> max_length_of(const JsonFile& config) {
  // Some files carry a huge number for "no limit".
  const auto value = config.find_double("model_max_length", 1, 1e300);
  if (!value || *value > 65536) return std::nullopt;
  return static_cast<int64_t>(*value);
}

std::optional<double> read_flow_shift(const Model& m) {
  const auto config = read_config(m, m.folder.scheduler_config);
  if (!config) return std::nullopt;
  const std::string prediction = config->find_string("prediction_type").value_or("flow_prediction");
  if (prediction != "flow_prediction") config->refuse("prediction_type", "\"flow_prediction\"");
  return config->find_double("flow_shift", 1e-3, 1e3);
}

// The SentencePiece model inside a text encoder's file; "" when there is none.
std::string tokenizer_of_weights(const weights::Checkpoint& checkpoint) {
  for (const weights::TensorEntry& entry : checkpoint.tensors()) {
    const bool is_named =
        entry.name == kTokenizerTensor || entry.name.ends_with(core::str(".", kTokenizerTensor));
    if (!is_named || entry.dtype != c10::ScalarType::Byte || entry.bytes > kMaxTokenizerBytes)
      continue;
    const at::Tensor bytes = checkpoint.load(entry.name);
    return std::string(static_cast<const char*>(bytes.const_data_ptr()), bytes.nbytes());
  }
  return "";
}

// UMT5-XXL's own, which comes with the program; "" when it does not.
std::string shipped_tokenizer() {
  namespace fs = std::filesystem;
  const fs::path own = core::own_folder();
  std::error_code ignored;
  for (const char* place :
       {"models", "../models", "../share/t2v/models", "../../share/t2v/models"}) {
    const fs::path file = (own / place / "tokenizers/umt5-xxl/spiece.model").lexically_normal();
    if (fs::is_regular_file(file, ignored)) return file.string();
  }
  return "";
}

void open_tokenizer(Model& m, Purpose purpose) {
  const auto make = [&](std::string bytes, const std::string& name, const std::string& config,
                        std::optional<int64_t> extra_ids) {
    m.tokenizer_name = name;
    if (purpose == Purpose::kLook) {
      m.vocabulary = text::count_vocabulary(std::move(bytes), name, config, extra_ids);
      return;
    }
    m.tokenizer = std::make_unique<text::Tokenizer>(
        text::Tokenizer::from_bytes(std::move(bytes), name, config, extra_ids));
    m.vocabulary = m.tokenizer->vocab_size();
  };
  if (!m.folder.tokenizer_model.empty()) {
    const std::string& path = m.folder.tokenizer_model;
    std::string config;
    if (!m.folder.tokenizer_config.empty())
      config = weights::read_whole_file(*m.storage, m.folder.tokenizer_config, JsonFile::kMaxBytes);
    return make(weights::read_whole_file(*m.storage, path, kMaxTokenizerBytes), path, config,
                std::nullopt);
  }
  const weights::Checkpoint& encoder = *m.folder.text_encoder.checkpoint;
  std::string bytes = tokenizer_of_weights(encoder);
  if (!bytes.empty())
    return make(std::move(bytes), core::str(m.folder.text_encoder.path, ": ", kTokenizerTensor), "",
                std::nullopt);
  const std::string shipped = shipped_tokenizer();
  T2V_REQUIRE(!shipped.empty(), ErrorKind::kModel,
              "incomplete model: there is no tokenizer (spiece.model) in it and none lies beside "
              "the program (",
              m.folder.path, "); try --tokenizer");
  make(weights::read_whole_file(*m.storage, shipped, kMaxTokenizerBytes), shipped, "",
       kShippedExtraIds);
}

// The padded prompt length that the model's files tell; t2v.json wins.
int64_t text_len_of(const Model& m) {
  std::optional<int64_t> length = m.own_settings.text_len;
  if (const auto config = read_config(m, m.folder.tokenizer_config)) {
    const auto max_length = max_length_of(*config);  // checked also when it is not used
    if (!length && m.folder.layout == "diffusers") length = max_length;
  }
  if (const auto config = read_config(m, m.folder.transformer.config); config && !length)
    length = config->find_int("text_len", 1, 1 << 16);  // of Wan's own configs
  return length.value_or(kDefaultTextLen);
}

void read_own_settings(Model& m) {
  if (const auto file = read_config(m, m.folder.t2v_json)) {
    m.own_settings = read_model_settings(*file);
    m.variant.name = file->find_string("name").value_or(m.variant.name);
  }
}

// Weights that were trained with an attention that is not computed here.
void refuse_other_attention(const weights::WeightMap& map, bool ignore_extra) {
  for (const auto& tensor : map.tensors()) {
    T2V_REQUIRE(tensor.name.find("local_attn.proj_l") == std::string::npos, ErrorKind::kModel,
                map.label(), ": tensor '", tensor.name,
                "' is of a linear attention beside a sparse one, which this version of t2v does "
                "not have (",
                map.checkpoint().path(),
                "); try the checkpoint of the same model that was distilled without it");
    T2V_REQUIRE(ignore_extra || tensor.name.find("gate_compress") == std::string::npos,
                ErrorKind::kModel, map.label(), ": tensor '", tensor.name,
                "' is of a learned sparse attention, which this version of t2v does not have (",
                map.checkpoint().path(),
                "); try --ignore-extra, which runs the same weights with dense attention");
  }
}

void check_tensors(const Model& m, bool ignore_extra) {
  const auto check = [&](const char* component, weights::Expectations expected,
                         const std::string& hint) {
    expected.ignore_extra = ignore_extra;
    expected.looks_like = hint;
    open_weights(m, component).check(expected);
  };
  if (m.transformer.image_size == 0) {  // transformers with an image encoder are only inspected
    for (const char* component : {"transformer", "transformer_2"}) {
      if (std::string(component) == "transformer_2" && !m.two_experts()) continue;
      refuse_other_attention(open_weights(m, component), ignore_extra);
      std::string hint;
      try {
        hint =
            looks_like(models::infer_transformer_spec(open_weights(m, component)), m.two_experts());
      } catch (const Error&) {  // not even that can be told
      }
      check(component, models::wan::Transformer::expectations(m.transformer), hint);
    }
  }
  weights::Expectations text = models::umt5::Encoder::expectations(m.text_encoder);
  text.ignored_prefixes.emplace_back(kTokenizerTensor);
  check("text_encoder", std::move(text), "");
  check("vae", models::vae::decoder_tensors(m.vae), "");
}

}  // namespace

GeometryRules Model::geometry_rules() const {
  return {.spatial_scale = vae.spatial_factor(),
          .temporal_scale = vae.temporal_factor(),
          .patch_height = transformer.patch_height,
          .patch_width = transformer.patch_width,
          .latent_channels = vae.z_dim};
}

std::shared_ptr<const weights::Storage> open_storage(const EngineOptions& options) {
  auto storage = weights::open_storage({.cache_dir = options.cache_dir,
                                        .cache_limit_bytes = options.cache_limit_bytes,
                                        .io = options.io,
                                        .timeout_seconds = options.remote_timeout_seconds});
  if (!is_random_model(options.model_path)) return storage;
  return open_random_model(options.model_path, std::move(storage));
}

Model open_model(const EngineOptions& options, std::shared_ptr<const weights::Storage> storage,
                 Purpose purpose) {
  Model m;
  m.storage = std::move(storage);
  m.folder = weights::find_model(*m.storage, options.model_path, options.components);
  open_checkpoints(m);
  read_specs(m);
  m.variant = identify_model(m.transformer, m.two_experts(), m.folder.boundary_ratio);
  open_tokenizer(m, purpose);
  read_own_settings(m);
  m.flow_shift = read_flow_shift(m);
  m.text_len = text_len_of(m);
  check_together(m);
  check_tensors(m, options.ignore_extra);
  return m;
}

void require_runnable(const Model& m) {
  const std::string& kind = m.folder.class_name;
  T2V_REQUIRE(m.transformer.image_size == 0, ErrorKind::kModel, "cannot generate with ",
              m.variant.name,
              ": image-to-video models with a CLIP image encoder (Wan2.1) are not in "
              "this version of t2v (",
              place_of(m.folder.transformer), ": 'image_dim' is ", m.transformer.image_size,
              "); try Wan2.2-I2V-A14B");
  T2V_REQUIRE(!m.folder.expand_timesteps || m.variant.task == ModelTask::kTextImageToVideo,
              ErrorKind::kModel, m.folder.index(), ": 'expand_timesteps' is true, but ",
              m.variant.name, " has one timestep for all tokens; do these files belong together?");
  T2V_REQUIRE(kind.empty() || kind == "WanPipeline" || kind == "WanImageToVideoPipeline",
              ErrorKind::kModel, m.folder.index(), ": '_class_name' is '", kind,
              "', expected 'WanPipeline' or 'WanImageToVideoPipeline': no other tasks are in this "
              "version of t2v");
}

WeightMap open_weights(const Model& model, const std::string& component) {
  const weights::ModelFolder& f = model.folder;
  if (component == "text_encoder")
    return WeightMap(f.text_encoder.checkpoint, ModelPart::kTextEncoder, component);
  if (component == "vae") return WeightMap(f.vae.checkpoint, ModelPart::kVae, component);
  if (component == "transformer_2")
    return WeightMap(f.transformer_2.checkpoint, ModelPart::kTransformer, "low_noise");
  T2V_ASSERT(component == "transformer");
  return WeightMap(f.transformer.checkpoint, ModelPart::kTransformer,
                   model.two_experts() ? "high_noise" : "transformer");
}

}  // namespace t2v::pipeline
