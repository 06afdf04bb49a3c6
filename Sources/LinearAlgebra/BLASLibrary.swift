import COpenBLAS
import Foundation

/// The OpenBLAS that is loaded, and which of its kernels run.
///
/// OpenBLAS picks its kernels when it is loaded, from the CPU models it knew when it was released: Debian's 0.3.21
/// runs AVX2 kernels on newer AVX-512 CPUs, at half their speed. `OPENBLAS_CORETYPE` overrides the choice, but only
/// if it is set before the program starts.
package enum BLASLibrary {
  /// For instance "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH NO_AFFINITY Haswell MAX_THREADS=64".
  package static var configuration: String { String(cString: openblas_get_config()) }

  /// The kernel family in use, for instance "SkylakeX" or "Haswell".
  package static var coreName: String { String(cString: openblas_get_corename()) }

  /// The value of `OPENBLAS_CORETYPE` that gives this CPU faster kernels than OpenBLAS chose by itself; nil if there
  /// is none, or the user has set the variable.
  package static var fasterCoreType: String? {
    guard ProcessInfo.processInfo.environment["OPENBLAS_CORETYPE"] == nil else { return nil }
    return isFastFor(CPU.features) ? nil : "SkylakeX"
  }

  /// Whether the kernels in use suit a CPU with these features: those for AVX-512 where it has that, any elsewhere.
  package static func isFastFor(_ features: Set<String>) -> Bool {
    !CPU.hasAVX512(features) || ["SkylakeX", "Cooperlake", "SapphireRapids", "Zen4", "Zen5"].contains(coreName)
  }

  /// Leaves the threads to `Threads`: evaluated once, before the first product. OpenBLAS cuts a product over its own
  /// threads at other places than we do, and the last bits of the elements beside a cut differ.
  static let holdToOneThread: Void = openblas_set_num_threads(1)

  /// Threads that OpenBLAS takes for one call.
  package static var threads: Int { Int(openblas_get_num_threads()) }
}
