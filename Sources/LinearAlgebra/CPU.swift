import COpenBLAS
import Foundation
import Memory

/// What this machine's processor can do, and whether this program was built for it.
package enum CPU {
  package static let availableCores = ProcessInfo.processInfo.activeProcessorCount

  /// Model name and vector extensions as the kernel lists them.
  package static let model: String = cpuinfo("model name") ?? "unknown"
  package static let features: Set<String> = Set((cpuinfo("flags") ?? "").split(separator: " ").map(String.init))

  /// Whether `features` hold all that OpenBLAS' SkylakeX kernels use.
  package static func hasAVX512(_ features: Set<String>) -> Bool {
    features.isSuperset(of: ["avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd"])
  }

  /// The vector extensions that this build of the kernels needs.
  package static var builtFor: [String] {
    (compiled_for_avx512() != 0 ? ["avx512f", "avx512bw", "avx512vl", "avx512dq"] : [])
      + (compiled_for_avx2_fma_f16c() != 0 ? ["avx2", "fma", "f16c"] : [])
  }

  /// Extensions that the build needs and this CPU lacks; the program would die of SIGILL.
  package static var missing: [String] { features.isEmpty ? [] : builtFor.filter { !features.contains($0) } }

  private static func cpuinfo(_ key: String) -> String? {
    // Files under /proc have no size, so Foundation's readers find them empty; the first 64 KiB hold the first core.
    guard let file = try? FileDescriptor(readingFrom: "/proc/cpuinfo"), let bytes = try? file.read(upTo: 1 << 16) else {
      return nil
    }
    for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") where line.hasPrefix(key) {
      return line.split(separator: ":", maxSplits: 1).last.map { $0.trimmingCharacters(in: .whitespaces) }
    }
    return nil
  }
}
