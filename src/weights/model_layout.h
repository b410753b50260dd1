// Folders in the diffusers layout: model_index.json and one folder for each component.
#pragma once

#include <string>

#include "weights/model_folder.h"

namespace t2v::weights {

// Whether the folder has a model_index.json.
bool is_diffusers_folder(const Storage& storage, const std::string& path);

// Components that `components` replaces may be missing. Throws Error{kModel, kRemote}.
ModelFolder open_diffusers_folder(const Storage& storage, const std::string& path,
                                  const ComponentPaths& components);

}  // namespace t2v::weights
