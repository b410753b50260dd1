# What a build can be asked for, and where its results go.

set(T2V_CUDA AUTO CACHE STRING "Build the CUDA kernels: AUTO (when nvcc is found), ON, OFF")
set_property(CACHE T2V_CUDA PROPERTY STRINGS AUTO ON OFF)
set(T2V_CUDA_ARCHS "80;90" CACHE STRING "CUDA architectures; a release has 80;86;89;90;100;120")
set(T2V_TORCH "" CACHE PATH
    "LibTorch: a folder with include/ and lib/ (archive or installed torch package); empty: .deps")
set(T2V_S3 AUTO CACHE STRING "Build the part that reads s3://: AUTO (when Arrow is found), ON, OFF")
set_property(CACHE T2V_S3 PROPERTY STRINGS AUTO ON OFF)
set(T2V_ARROW "" CACHE PATH "Arrow: an installed pyarrow package; empty: .deps")
set(T2V_FUZZ AUTO CACHE STRING "Build the fuzz targets: AUTO (when clang++-14 has libFuzzer), ON, OFF")
set_property(CACHE T2V_FUZZ PROPERTY STRINGS AUTO ON OFF)
set(T2V_SANITIZE "" CACHE STRING "Sanitizers: address,undefined or thread")
option(T2V_MEDIA "Build the FFmpeg part: video files (without it PNG folders and raw frames only)" ON)
option(T2V_PCH "Precompile ATen and the standard library for the engine" ON)
option(T2V_FAULTS "Compile the fault points in (for tests)" OFF)
option(T2V_PROFILE "Line information and NVTX ranges" OFF)
option(T2V_TESTS "Build the tests" ON)
option(T2V_BENCH "Build the benchmark programs" ON)
option(T2V_CHECKS "Run the source checks (layers, sizes, names, format, tidy) with the tests" ON)
option(T2V_INSTALL_TORCH "Copy LibTorch's CPU libraries into the installed tree" ON)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Release, Debug or RelWithDebInfo" FORCE)
endif()

# Everything that runs lies together, so that build/t2v finds its parts as the installed one does.
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
set(CMAKE_BUILD_RPATH_USE_ORIGIN ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
