import Foundation
import LinearAlgebra

/// Starts the program again with faster OpenBLAS kernels where it knows of any: OpenBLAS reads
/// `OPENBLAS_CORETYPE` when it is loaded, before any code of ours runs. A value that the user has set is kept.
func useFastKernels() {
  guard let core = BLASLibrary.fasterCoreType else { return }
  unsafe setenv("OPENBLAS_CORETYPE", core, 1)
  var arguments: [UnsafeMutablePointer<CChar>?] = unsafe CommandLine.arguments.map { unsafe strdup($0) }
  unsafe arguments.append(nil)
  // Returns only if it fails; the slower kernels are correct too.
  unsafe execv("/proc/self/exe", arguments)
}
