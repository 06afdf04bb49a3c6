import ArgumentParser
import LinearAlgebra
import Report

struct DoctorCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor", abstract: "Say what this machine gives ActCache, what is wrong, and how to mend it.")

  @Flag(help: "Print one JSON object.") var json = false

  func run() throws {
    let diagnosis = Diagnosis.measure(version: ActCacheCommand.version)
    if json { return try printJSON(diagnosis) }
    print(
      """
      actcache    \(diagnosis.version), \(diagnosis.compiler)
      CPU         \(diagnosis.cpu), \(diagnosis.cores) cores, kernels built for \(diagnosis.builtFor.joined(separator: " "))
      OpenBLAS    \(diagnosis.openBLAS)
      kernels     \(diagnosis.blasCore), 1 thread per call, \(diagnosis.threads) threads of our own\
      \(diagnosis.blasCoreFromEnvironment.map { " (OPENBLAS_CORETYPE=\($0))" } ?? "")
      GEMM        \(fixed(diagnosis.gemmGFLOPs, 0)) GFLOP/s on all threads, \(fixed(diagnosis.gemmGFLOPsOneThread, 0)) on one (f32, 2048×2048×768)
      memory      \(fixed(diagnosis.copyGBs, 1)) GB/s copying 256 MB (bytes read and written)
      zstd        \(diagnosis.zstd)
      """)
    if diagnosis.findings.isEmpty { print("\nnothing is wrong") }
    for finding in diagnosis.findings { print("\n\(finding)") }
  }
}
