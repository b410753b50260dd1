// Signs finished files: a C2PA manifest that says that t2v has made them, with the recipe.
#pragma once

#include <string>

#include "media/media.h"
#include "media/output_format.h"

namespace t2v::media {

struct C2paLibrary;

class C2paSigning {
 public:
  // Checks by signing a small picture that library, certificate and key work together. Throws
  // Error{kUsage, kInput}.
  explicit C2paSigning(const SinkOptions& options);

  // Writes `source`, signed, to `target`, both on disk. recipe_json: "" = none. Throws
  // Error{kOutput}.
  void sign_file(const std::string& source, const std::string& target,
                 const std::string& recipe_json) const;

  // Whether files of this kind can be signed. Throws Error{kUsage} that lists those that can.
  static void require_format(OutputFormat format);

 private:
  // The reason of a failure, "" for none.
  std::string sign(int source, int target, const char* format, const std::string& manifest) const;
  void find_algorithm();

  const C2paLibrary* library_;
  std::string certificate_;
  std::string key_;
  std::string algorithm_;  // "es256" ...
  const char* format_;     // of the file, as a media type
};

}  // namespace t2v::media
