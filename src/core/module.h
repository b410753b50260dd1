// Parts of the program that are loaded when first needed: the engine (LibTorch), the CUDA back end.
#pragma once

#include <string>

namespace t2v::core {

// Folder of the shared library or program that holds this code.
std::string own_folder();

// Loads lib<name>.so from beside t2v's own libraries (never from the search path) and returns the
// address of `symbol`. Stays loaded. Throws Error{kInternal} with the loader's reason.
void* load_module(const std::string& name, const std::string& symbol);

}  // namespace t2v::core
