// Parts of the program that are loaded when first needed: the engine (LibTorch), the CUDA back end.
#pragma once

#include <string>

namespace t2v::core {

// Folder of the shared library or program that holds this code.
std::string own_folder();

// Loads lib<name>.so from beside t2v's own libraries (never from the search path) and returns the
// address of `symbol`. Stays loaded. Throws Error{kInternal} with the loader's reason.
void* load_module(const std::string& name, const std::string& symbol);

// For modules whose libraries must be told before the program ends: `done` says whether they were
// left in a state in which static destructors may run. At most one call for each function.
void on_shutdown(bool (*done)() noexcept);

// Calls all of them, the last one first; main does this when no other thread uses a module. False:
// end the program without static destructors.
[[nodiscard]] bool shut_down() noexcept;

}  // namespace t2v::core
