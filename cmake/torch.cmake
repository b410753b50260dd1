# LibTorch as imported targets: t2v::torch_cpu and t2v::c10 for the engine, t2v::torch_cuda and
# t2v::c10_cuda for the CUDA plugin. Not by find_package(Torch), which wants CUDA in every build.

set(t2v_torch ${T2V_TORCH})
if(NOT t2v_torch)
  file(GLOB t2v_installed ${PROJECT_SOURCE_DIR}/.deps/lib/python3*/site-packages/torch)
  list(POP_BACK t2v_installed t2v_torch)
endif()
if(NOT EXISTS ${t2v_torch}/include/ATen/ATen.h OR NOT EXISTS ${t2v_torch}/lib/libtorch_cpu.so)
  message(FATAL_ERROR "no LibTorch in '${t2v_torch}' (include/ATen/ATen.h, lib/libtorch_cpu.so);"
                      " run `make setup`, or name yours with -DT2V_TORCH=DIR")
endif()
message(STATUS "t2v: LibTorch in ${t2v_torch}")
set(T2V_TORCH_LIB ${t2v_torch}/lib)

# Only these folders of torch/include: the others (fmt, pybind11, dnnl) would hide the system's own.
set(t2v_torch_include ${PROJECT_BINARY_DIR}/torch_include)
file(MAKE_DIRECTORY ${t2v_torch_include})
foreach(folder ATen c10 torch caffe2)
  file(CREATE_LINK ${t2v_torch}/include/${folder} ${t2v_torch_include}/${folder} SYMBOLIC)
endforeach()

function(t2v_import_torch name)
  add_library(t2v::${name} SHARED IMPORTED GLOBAL)
  set_target_properties(t2v::${name} PROPERTIES
    IMPORTED_LOCATION ${T2V_TORCH_LIB}/lib${name}.so
    IMPORTED_SONAME lib${name}.so
    INTERFACE_INCLUDE_DIRECTORIES ${t2v_torch_include})  # SYSTEM, as of every imported target
endfunction()

t2v_import_torch(c10)
t2v_import_torch(torch_cpu)
target_link_libraries(t2v::torch_cpu INTERFACE t2v::c10)
if(T2V_HAS_CUDA)
  t2v_import_torch(c10_cuda)
  t2v_import_torch(torch_cuda)
  target_link_libraries(t2v::c10_cuda INTERFACE t2v::c10 CUDA::cudart)
  target_link_libraries(t2v::torch_cuda INTERFACE t2v::torch_cpu t2v::c10_cuda)
  # Linking needs none of torch_cuda's own libraries (cuDNN, NCCL, ...); only loading does.
  target_link_options(t2v::torch_cuda INTERFACE LINKER:--allow-shlib-undefined)
endif()
