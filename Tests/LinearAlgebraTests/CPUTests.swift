import Foundation
import LinearAlgebra
import Testing

@Suite struct CPUTests {
  @Test func featuresAreReadAndCoverTheBuild() {
    #if os(Linux) && arch(x86_64)
      #expect(CPU.features.contains("sse2"))
      #expect(CPU.model != "unknown")
    #endif
    #expect(CPU.missing.isEmpty)
    #expect(CPU.availableCores >= 1)
  }

  @Test func openBLASNamesItsKernels() {
    #expect(BLASLibrary.configuration.contains("OpenBLAS"))
    #expect(!BLASLibrary.coreName.isEmpty)
  }
}
