#include "pipeline/model.h"

#include "core/check.h"
#include "models/umt5/encoder.h"
#include "models/vae/decoder.h"
#include "models/wan/transformer.h"
#include "weights/json_file.h"

namespace t2v::pipeline {
namespace {

constexpr int64_t kDefaultTextLen = 512;

std::string config_of(const std::string& component_folder) {
  return component_folder + "/config.json";
}

models::TransformerSpec read_transformers(const weights::ModelFolder& folder) {
  const auto spec = models::read_transformer_spec(config_of(folder.transformer));
  if (folder.transformer_2.empty()) return spec;
  const auto low = models::read_transformer_spec(config_of(folder.transformer_2));
  T2V_REQUIRE(low == spec, ErrorKind::kModel, "the two experts differ in their dimensions (",
              config_of(folder.transformer_2),
              "); do transformer and transformer_2 belong together?");
  return spec;
}

// Things that must hold between components.
void check_together(const Model& m) {
  const std::string transformer = config_of(m.folder.transformer);
  T2V_REQUIRE(!m.folder.expand_timesteps, ErrorKind::kModel, m.folder.path,
              "/model_index.json: 'expand_timesteps' is true: Wan2.2-TI2V-5B is not in this "
              "version of t2v");
  T2V_REQUIRE(m.transformer.text_size == m.text_encoder.size, ErrorKind::kModel, transformer,
              ": 'text_dim' is ", m.transformer.text_size, ", expected ", m.text_encoder.size,
              " ('d_model' of the text encoder)");
  T2V_REQUIRE(m.transformer.in_channels == m.vae.z_dim, ErrorKind::kModel, transformer,
              ": 'in_channels' is ", m.transformer.in_channels, ", expected ", m.vae.z_dim,
              " ('z_dim' of the VAE); image-to-video models are not in this version of t2v");
  T2V_REQUIRE(m.transformer.out_channels == m.vae.z_dim, ErrorKind::kModel, transformer,
              ": 'out_channels' is ", m.transformer.out_channels, ", expected ", m.vae.z_dim,
              " ('z_dim' of the VAE)");
  T2V_REQUIRE(m.tokenizer->vocab_size() <= m.text_encoder.vocab_size, ErrorKind::kModel,
              config_of(m.folder.text_encoder), ": 'vocab_size' is ", m.text_encoder.vocab_size,
              ", expected at least ", m.tokenizer->vocab_size(), " (entries of ",
              m.folder.tokenizer_model, ")");
}

// model_max_length of the tokenizer's config. The file is read (and so checked) in any case.
std::optional<int64_t> read_max_length(const weights::ModelFolder& folder) {
  if (folder.tokenizer_config.empty()) return std::nullopt;
  const auto config = weights::JsonFile::read(folder.tokenizer_config);
  // Some files carry a huge number for "no limit".
  const auto value = config.find_double("model_max_length", 1, 1e300);
  if (!value || *value > 65536) return std::nullopt;
  return static_cast<int64_t>(*value);
}

std::optional<double> read_flow_shift(const weights::ModelFolder& folder) {
  if (folder.scheduler_config.empty()) return std::nullopt;
  const auto config = weights::JsonFile::read(folder.scheduler_config);
  const std::string prediction = config.find_string("prediction_type").value_or("flow_prediction");
  if (prediction != "flow_prediction") config.refuse("prediction_type", "\"flow_prediction\"");
  return config.find_double("flow_shift", 1e-3, 1e3);
}

void check_tensors(const Model& m) {
  open_weights(m, "transformer").check(models::wan::Transformer::expectations(m.transformer));
  if (m.two_experts())
    open_weights(m, "transformer_2").check(models::wan::Transformer::expectations(m.transformer));
  open_weights(m, "text_encoder").check(models::umt5::Encoder::expectations(m.text_encoder));
  open_weights(m, "vae").check(models::vae::decoder_tensors(m.vae));
}

}  // namespace

GeometryRules Model::geometry_rules() const {
  return {.spatial_scale = vae.spatial_factor(),
          .temporal_scale = vae.temporal_factor(),
          .patch_height = transformer.patch_height,
          .patch_width = transformer.patch_width,
          .latent_channels = vae.z_dim};
}

Model open_model(const std::string& path) {
  Model m;
  m.folder = weights::open_model_folder(path);
  const std::string& kind = m.folder.class_name;
  T2V_REQUIRE(kind.empty() || kind == "WanPipeline", ErrorKind::kModel, m.folder.path,
              "/model_index.json: '_class_name' is '", kind,
              "', expected 'WanPipeline': only text-to-video models are in this version of t2v");
  m.text_encoder = models::read_text_encoder_spec(config_of(m.folder.text_encoder));
  m.transformer = read_transformers(m.folder);
  m.vae = models::vae::read_vae_spec(config_of(m.folder.vae));
  const auto max_length = read_max_length(m.folder);
  m.tokenizer = std::make_unique<text::Tokenizer>(m.folder.tokenizer_model);
  m.own_settings = read_model_settings(m.folder.t2v_json);
  m.flow_shift = read_flow_shift(m.folder);
  m.text_len = m.own_settings.text_len.value_or(max_length.value_or(kDefaultTextLen));
  m.variant = identify_model(m.transformer, m.two_experts(), m.folder.boundary_ratio);
  const std::string own_name = read_model_name(m.folder.t2v_json);
  if (!own_name.empty()) m.variant.name = own_name;
  check_together(m);
  check_tensors(m);
  return m;
}

weights::WeightMap open_weights(const Model& model, const std::string& component) {
  using weights::ModelPart;
  const weights::ModelFolder& f = model.folder;
  if (component == "text_encoder")
    return weights::WeightMap::open(f.text_encoder, ModelPart::kTextEncoder, component);
  if (component == "vae") return weights::WeightMap::open(f.vae, ModelPart::kVae, component);
  if (component == "transformer_2")
    return weights::WeightMap::open(f.transformer_2, ModelPart::kTransformer, "low_noise");
  T2V_ASSERT(component == "transformer");
  return weights::WeightMap::open(f.transformer, ModelPart::kTransformer,
                                  model.two_experts() ? "high_noise" : "transformer");
}

}  // namespace t2v::pipeline
