// Sampling settings from several sources, laid over one another.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/spec.h"
#include "t2v/request.h"
#include "weights/json_file.h"

namespace t2v::pipeline {

// One source of settings; empty fields are left to the source below.
struct Settings {
  std::optional<std::string> negative_prompt;
  std::optional<int64_t> width, height, frames, steps, text_len;
  std::optional<double> fps, shift, guidance_scale_high, guidance_scale_low, boundary;
  std::optional<Solver> solver;
  std::optional<SigmaTable> sigma_table;
  std::optional<std::string> causal;          // a profile; only a model's own settings have one
  std::optional<std::vector<double>> t_list;  // timesteps; only presets have them
  std::optional<uint64_t> seed;
};

// Fields of `upper` win.
Settings overlay(const Settings& upper, const Settings& lower);

// What a model makes, from what.
enum class ModelTask { kTextToVideo, kImageToVideo, kTextImageToVideo };
const char* task_words(ModelTask task) noexcept;  // "text-to-video"

// What a known model is.
struct ModelVariant {
  std::string name;       // "Wan2.2-T2V-A14B", or a description of an unknown one
  std::string published;  // "Wan2.2-T2V-A14B"; "" of an unknown one
  ModelTask task = ModelTask::kTextToVideo;
  Settings defaults;  // complete but for text_len
};

// By the transformer's dimensions and the number of experts (table of the published defaults).
ModelVariant identify_model(const models::TransformerSpec& spec, bool two_experts,
                            std::optional<double> boundary_ratio);
// "Wan2.1-T2V-1.3B (30 blocks of 12 heads x 128)", for messages.
std::string looks_like(const models::TransformerSpec& spec, bool two_experts);

// The model folder's own t2v.json. Throws Error{kModel} naming file and key.
Settings read_model_settings(const weights::JsonFile& file);

Solver parse_solver(const std::string& word);           // "unipc", "euler", "dpm++", "renoise"
SigmaTable parse_sigma_table(const std::string& word);  // "wan", "diffusers"

}  // namespace t2v::pipeline
