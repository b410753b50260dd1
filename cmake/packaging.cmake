# cpack in the build folder makes t2v_VERSION_ARCH.deb and .tar.gz of what `make build` has built. LibTorch's two
# libraries travel inside, below lib/t2v; all other libraries are Debian's, named by dpkg-shlibdeps.
set(CPACK_GENERATOR "DEB;TGZ")
set(CPACK_PACKAGE_NAME t2v)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_VENDOR t2v)
set(CPACK_PACKAGE_CONTACT "the t2v project <t2v@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "text to video with Wan models")
set(CPACK_PACKAGE_DESCRIPTION
    "t2v makes videos from prompts with Wan2.1 and Wan2.2 models, on CPUs and NVIDIA GPUs. A small model comes with it.")
set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_THREADS 0)
set(CPACK_VERBATIM_VARIABLES ON)

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION video)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${PROJECT_BINARY_DIR} ${T2V_TORCH_LIB}
    ${T2V_TORCH_LIB}/../../nvidia/cu13/lib)
set(CPACK_DEBIAN_COMPRESSION_TYPE zstd)  # xz takes minutes for LibTorch

# Packing takes what is there: tests need not have been built.
set(CMAKE_SKIP_INSTALL_ALL_DEPENDENCY ON)
include(CPack)
