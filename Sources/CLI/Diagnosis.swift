import ActCache
import Foundation
import LinearAlgebra

/// What `actcache doctor` finds.
struct Diagnosis: Encodable {
  var version: String
  var compiler: String
  var cpu: String
  var cores: Int
  var threads: Int
  var vectorExtensions: [String]
  /// What the kernels of this build need.
  var builtFor: [String]
  var openBLAS: String
  var blasCore: String
  var blasCoreFromEnvironment: String?
  /// Sums of products on all threads and on one.
  var gemmGFLOPs: Double
  var gemmGFLOPsOneThread: Double
  var copyGBs: Double
  var zstd: String
  /// What is wrong and how to mend it; empty if nothing is.
  var findings: [String]

  static func measure(version: String) -> Diagnosis {
    let threads = Threads.count
    let all = MachineSpeed.gemmGFLOPs()
    Threads.count = 1
    let one = MachineSpeed.gemmGFLOPs()
    Threads.count = threads
    let setting = ProcessInfo.processInfo.environment["OPENBLAS_CORETYPE"]
    var findings: [String] = []
    let isFast = BLASLibrary.isFastFor(CPU.features)
    if !isFast, let setting {
      findings.append(
        "OPENBLAS_CORETYPE=\(setting) makes OpenBLAS run its \(BLASLibrary.coreName) kernels; this CPU has AVX-512, "
          + "where SkylakeX is up to twice as fast: unset OPENBLAS_CORETYPE, or set it to SkylakeX")
    } else if !isFast {
      findings.append(
        "OpenBLAS runs its \(BLASLibrary.coreName) kernels though this CPU has AVX-512: "
          + "set OPENBLAS_CORETYPE=SkylakeX, or install a newer OpenBLAS")
    }
    if !BLASLibrary.configuration.contains("DYNAMIC_ARCH") && !isFast {
      findings.append("this OpenBLAS was built for one kind of CPU: install libopenblas0-pthread (apt)")
    }
    #if DEBUG
      findings.append("this is a debug build, some 100 times slower: make build, then .build/release/actcache")
    #endif
    return Diagnosis(
      version: version, compiler: compilerVersion, cpu: CPU.model, cores: CPU.availableCores, threads: threads,
      vectorExtensions: CPU.features.filter { $0.hasPrefix("avx") || $0 == "fma" || $0 == "f16c" }.sorted(),
      builtFor: CPU.builtFor.isEmpty ? ["the baseline"] : CPU.builtFor, openBLAS: BLASLibrary.configuration,
      blasCore: BLASLibrary.coreName, blasCoreFromEnvironment: setting, gemmGFLOPs: all, gemmGFLOPsOneThread: one,
      copyGBs: MachineSpeed.copyGBs(), zstd: zstdVersion, findings: findings)
  }

  private static var compilerVersion: String {
    #if compiler(>=6.4)
      "Swift 6.4 or later"
    #elseif compiler(>=6.3)
      "Swift 6.3"
    #else
      "Swift 6.2"
    #endif
  }
}
