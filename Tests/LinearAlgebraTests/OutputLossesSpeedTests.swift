#if !DEBUG
  import Foundation
  import LinearAlgebra
  import TestSupport
  import Testing

  /// Rates on the vocabularies of two models, printed; `scripts/peer_output_losses.py` has PyTorch's. Each asserts only
  /// what a slow, busy machine reaches too.
  @Suite(.serialized) struct OutputLossesSpeedTests {
    @Test(arguments: [("TinyStories-1M", 4096, 64, 50_257), ("SmolLM2-135M", 1024, 576, 49_152)])
    func lossesWithTheirGradients(name: String, n: Int, d: Int, v: Int) {
      let k = 64
      var random = SeededGenerator(seed: 2)
      let teacher = Matrix(n, d, random.floats(n * d, in: -1.7...1.7))
      let noise = random.floats(n * d, in: -0.17...0.17)
      let student = Matrix(n, d, zip(teacher.values, noise).map { $0 + $1 })
      let other = Matrix(n, d, zip(teacher.values, noise).map { $0 - $1 })
      let spread = 3.5 / Float(d).squareRoot()
      let unembedding = Matrix(v, d, random.floats(v * d, in: -spread...spread))
      let buckets = BucketTargets(
        starts: (0...n).map { $0 * k }, tokens: (0..<n * k).map { UInt32(($0 % k * 700 + $0 / k) % v) },
        probabilities: [Float](repeating: 0.5 / Float(k), count: n * k), tailMasses: [Float](repeating: 0.5, count: n))
      let next: [UInt32?] = (0..<n).map { UInt32($0 * 11 % v) }
      let weights = [Float](repeating: 1 / Float(n), count: n)
      let gradient = Matrix(n, d)
      let second = Matrix(n, d)
      let scratch = OutputLossScratch()
      /// - Parameter products: of [rows, D] and [V, D] that the loss takes.
      func report(_ what: String, products: Int, rows: Int? = nil, _ teacher: TeacherPredictions, shares: Bool = false)
      {
        let m = rows ?? n
        let students = [student.strip.rows(0..<m)] + (shares ? [other.strip.rows(0..<m)] : [])
        let gradients = [gradient.strip.rows(0..<m)] + (shares ? [second.strip.rows(0..<m)] : [])
        var times: [Double] = []
        for _ in 0..<4 {
          let time = ContinuousClock().measure {
            _ = outputLosses(
              students, unembedding: unembedding.strip, teacher: teacher, nextTokens: Array(next[0..<m]),
              weights: Array(weights[0..<m]), dStates: gradients, scratch: scratch)
          }
          times.append(Double(time.components.attoseconds) / 1e18 + Double(time.components.seconds))
        }
        let best = times.dropFirst().min() ?? 0
        let flops = 2 * Double(products) * Double(m * d) * Double(v)
        print("\(name), \(what): \(Int(Double(m) / best)) tokens/s, \(Int(flops / best / 1e9)) GFLOP/s")
        #expect(Double(m) / best > 10)
      }
      report("topk:64 and tail", products: 2, .buckets(buckets))
      report("next token", products: 2, .nextTokens)
      report("teacher's states", products: 4, .states(SharedMatrix(teacher.copy())))
      report("teacher's states, two students", products: 6, .states(SharedMatrix(teacher.copy())), shares: true)
      let m = 512
      let codes = CodedLogits(
        codes: (0..<m * v).map { UInt16(truncatingIfNeeded: $0 &* 40_503 >> 3) },
        steps: [Float](repeating: 20 / 65_535, count: m))
      report("teacher's coded logits", products: 3, rows: m, .logits(codes))
    }
  }
#endif
