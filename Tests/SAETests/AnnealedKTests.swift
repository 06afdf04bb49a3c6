import SAE
import Testing

@Suite struct AnnealedKTests {
  /// 3 · (1 − s) + 3 · s is less than 3 for some s.
  @Test(arguments: [1, 3, 5, 10, 50]) func kWithoutAStartIsTheSameInEveryStep(k: Int) {
    let shape = SAEConfiguration(architecture: .topk, dIn: 8, dSAE: 200, k: k)
    #expect((0..<1000).allSatisfy { shape.k(step: $0, of: 1000) == k })
  }

  @Test func kGoesFromItsStartInALine() {
    var shape = SAEConfiguration(architecture: .topk, dIn: 8, dSAE: 200, k: 4)
    (shape.kStart, shape.kAnnealFraction) = (8, 0.5)
    #expect([0, 1, 2, 3, 4, 5, 9].map { shape.k(step: $0, of: 10) } == [8, 7, 6, 5, 4, 4, 4])
  }
}
