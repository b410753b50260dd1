#include "media/recipe_settings.h"

#include <filesystem>

#include "media/json_object.h"
#include "media/mark.h"

namespace t2v::media {

std::string with_output_settings(const std::string& recipe_json, const SinkOptions& options) {
  if (!recipe_json.ends_with('}')) return recipe_json;
  JsonObject more;
  if (!options.codec.empty()) more.add_text("codec", options.codec);
  if (options.crf) more.add_integer("crf", *options.crf);
  if (!options.pix_fmt.empty()) more.add_text("pix_fmt", options.pix_fmt);
  if (!options.encoder_preset.empty()) more.add_text("encoder_preset", options.encoder_preset);
  if (!options.watermark.empty()) {
    const bool picture = is_mark_picture(options.watermark);  // folders are nobody's business
    more.add_text("watermark", picture
                                   ? std::filesystem::path(options.watermark).filename().string()
                                   : options.watermark);
  }
  const std::string text = more.text();
  if (text == "{}") return recipe_json;
  const bool empty = recipe_json == "{}";
  return recipe_json.substr(0, recipe_json.size() - 1) + (empty ? "" : ",") + text.substr(1);
}

}  // namespace t2v::media
