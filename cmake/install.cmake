# The installed tree can be moved and runs with no environment:
#   bin/t2v   lib/t2v/*.so (ours, then LibTorch's)   share/t2v/models/{shapes,tokenizers}   share/doc/t2v
#   share/man/man1   completions of bash, zsh and fish where Debian's shells look

set(parts t2v_core t2v_engine_module t2v_media t2v_http)
foreach(part t2v_cuda t2v_s3)
  if(TARGET ${part})
    list(APPEND parts ${part})
  endif()
endforeach()
set_target_properties(t2v PROPERTIES INSTALL_RPATH "$ORIGIN/../lib/t2v")
set_target_properties(${parts} PROPERTIES INSTALL_RPATH "$ORIGIN")
if(NOT T2V_INSTALL_TORCH)
  set_target_properties(t2v_engine_module PROPERTIES INSTALL_RPATH "$ORIGIN;${T2V_TORCH_LIB}")
endif()
if(TARGET t2v_cuda)  # LibTorch's CUDA half is not copied: it is found where it was at build time
  set_target_properties(t2v_cuda PROPERTIES INSTALL_RPATH "$ORIGIN;${T2V_TORCH_LIB}")
endif()
install(TARGETS t2v RUNTIME DESTINATION bin)
install(TARGETS ${parts} LIBRARY DESTINATION lib/t2v)

if(T2V_INSTALL_TORCH)
  set(libraries ${T2V_TORCH_LIB}/libtorch_cpu.so ${T2V_TORCH_LIB}/libc10.so)
  file(GLOB bundled ${T2V_TORCH_LIB}/libgomp*.so* ${T2V_TORCH_LIB}/libcudart*.so* ${T2V_TORCH_LIB}/libcupti*.so*
       ${T2V_TORCH_LIB}/../../nvidia/cu13/lib/libcudart.so.13 ${T2V_TORCH_LIB}/../../nvidia/cu13/lib/libcupti.so.13)
  install(FILES ${libraries} ${bundled} DESTINATION lib/t2v)
endif()

if(TARGET t2v_s3)
  install(FILES ${T2V_ARROW_LIBRARY} DESTINATION lib/t2v)
endif()

set(texts ${PROJECT_BINARY_DIR}/texts)
install(FILES ${texts}/t2v.1 DESTINATION share/man/man1)
install(FILES ${texts}/t2v DESTINATION share/bash-completion/completions)
install(FILES ${texts}/_t2v DESTINATION share/zsh/vendor-completions)
install(FILES ${texts}/t2v.fish DESTINATION share/fish/vendor_completions.d)

install(DIRECTORY ${PROJECT_SOURCE_DIR}/models/shapes ${PROJECT_SOURCE_DIR}/models/tokenizers DESTINATION share/t2v/models)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/profiles DESTINATION share/t2v)
if(EXISTS ${PROJECT_SOURCE_DIR}/models/shapes-causal)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/models/shapes-causal DESTINATION share/t2v/models)
endif()
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION share/doc/t2v)
foreach(document README.md models/README.md docs/architecture.md docs/numerics.md)
  if(EXISTS ${PROJECT_SOURCE_DIR}/${document})
    string(REPLACE "/" "-" name ${document})
    install(FILES ${PROJECT_SOURCE_DIR}/${document} DESTINATION share/doc/t2v RENAME ${name})
  endif()
endforeach()
