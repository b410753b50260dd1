#include "cli/quantize_report.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <vector>

#include "cli/console.h"
#include "core/check.h"
#include "core/escape.h"
#include "t2v/version.h"

namespace t2v::cli {
namespace {

using Json = nlohmann::ordered_json;
using core::str;

constexpr size_t kWorst = 10;

std::vector<const QuantizedLayer*> worst_layers(const QuantizeReport& report) {
  std::vector<const QuantizedLayer*> layers;
  for (const QuantizedLayer& layer : report.layers) layers.push_back(&layer);
  std::stable_sort(
      layers.begin(), layers.end(),
      [](const QuantizedLayer* a, const QuantizedLayer* b) { return a->sqnr_db < b->sqnr_db; });
  layers.resize(std::min(layers.size(), kWorst));
  return layers;
}

Json layer_json(const QuantizedLayer& layer) {
  return {{"component", layer.component},
          {"layer", layer.name},
          {"source", layer.source},
          {"shape", {layer.rows, layer.columns}},
          {"rotation", layer.rotation},
          {"sqnr_db", layer.sqnr_db},
          {"cosine", layer.cosine},
          {"max_error", layer.max_error},
          {"bytes_before", layer.bytes_before},
          {"bytes_after", layer.bytes_after}};
}

double gb_per_s(int64_t bytes, double seconds) {
  return seconds > 0 ? static_cast<double>(bytes) / 1e9 / seconds : 0;
}

}  // namespace

std::string quantize_json(const QuantizeReport& report) {
  Json layers = Json::array();
  for (const QuantizedLayer& layer : report.layers) layers.push_back(layer_json(layer));
  Json worst = Json::array();
  for (const QuantizedLayer* layer : worst_layers(report))
    worst.push_back(layer->component + "." + layer->name);
  Json files = Json::array();
  for (const QuantizedFile& file : report.files)
    files.push_back({{"component", file.component},
                     {"path", file.path},
                     {"source_sha256", file.source_sha256},
                     {"bytes_before", file.bytes_before},
                     {"bytes_after", file.bytes_after}});
  const Json json = {{"t2v", kVersion},
                     {"folder", report.folder},
                     {"quant", "int8"},
                     {"rotation", report.rotation},
                     {"loras", report.loras},
                     {"files", std::move(files)},
                     {"worst", std::move(worst)},
                     {"layers", std::move(layers)},
                     {"run",
                      {{"seconds", report.seconds},
                       {"read_seconds", report.read_seconds},
                       {"bytes_read", report.bytes_read},
                       {"bytes_written", report.bytes_written},
                       {"bytes_of_earlier_runs", report.bytes_kept},
                       {"gb_per_s", gb_per_s(report.bytes_read, report.seconds)}}}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string quantize_table(const QuantizeReport& report) {
  std::array<char, 256> line{};
  const size_t width = 44;
  std::string text = str("worst of ", report.layers.size(), " layers");
  text += std::string(width + 2 > text.size() ? width + 2 - text.size() : 1, ' ') +
          "   SQNR dB    cosine   max error  source\n";
  for (const QuantizedLayer* layer : worst_layers(report)) {
    std::snprintf(line.data(), line.size(), "%10.2f  %.6f  %10.3g  ", layer->sqnr_db, layer->cosine,
                  layer->max_error);
    const std::string name = core::escape_control(layer->component + "." + layer->name, 60);
    text += str("  ", name, std::string(width > name.size() ? width - name.size() : 1, ' '),
                line.data(), core::escape_control(layer->source, 40), "\n");
  }
  int64_t before = 0;
  int64_t after = 0;
  for (const QuantizedFile& file : report.files) {
    before += file.bytes_before;
    after += file.bytes_after;
  }
  text += str("wrote ", core::escape_control(report.folder), ": ", bytes_text(after),
              " instead of ", bytes_text(before), " in ", duration_text(report.seconds), ", ",
              bytes_text(static_cast<int64_t>(1e9 * gb_per_s(report.bytes_read, report.seconds))),
              "/s\n");
  return text;
}

}  // namespace t2v::cli
