import LinearAlgebra

/// The layers of a `deep` autoencoder, in the order in which an input goes through them.
struct DeepNetwork {
  /// Where the gradients of all parameters are added up, each of its parameter's shape.
  struct Sums {
    let encoder: [DeepLayer.Sums]
    let wEnc, bEnc, wDec, bDec: Strip
    let decoder: [DeepLayer.Sums]
  }

  let shape: DeepShape
  let encoder: [DeepLayer]
  /// [dSAE, width of the last encoder layer]
  let wEnc: Parameter
  /// [1, dSAE]
  let bEnc: Parameter
  /// [dSAE, width of the first decoder layer]; row i is the decoder direction of latent i.
  let wDec: Parameter
  /// [1, the same]
  let bDec: Parameter
  let decoder: [DeepLayer]

  /// All weights 0.
  init(_ configuration: SAEConfiguration) {
    let shape = configuration.deep
    let (dIn, n) = (configuration.dIn, configuration.dSAE)
    self.shape = shape
    encoder = zip([dIn] + shape.encoder, shape.encoder).enumerated().map { i, widths in
      DeepLayer("encoder.\(i)", from: widths.0, to: widths.1, shape.encoderActivation, hasNorm: shape.layerNorm)
    }
    wEnc = Parameter("W_enc", Matrix(n, shape.encoder.last ?? dIn))
    bEnc = Parameter("b_enc", Matrix(1, n))
    wDec = Parameter("W_dec", Matrix(n, shape.decoder.first ?? dIn))
    bDec = Parameter("b_dec", Matrix(1, shape.decoder.first ?? dIn))
    decoder = zip(shape.decoder, shape.decoder.dropFirst() + [dIn]).enumerated().map { i, widths in
      let isLast = i == shape.decoder.count - 1
      return DeepLayer(
        "decoder.\(i)", from: widths.0, to: widths.1, isLast ? nil : shape.decoderActivation, hasNorm: false)
    }
    let last = last.weight
    for hidden in encoder.map(\.weight) + [wDec] + decoder.map(\.weight) { hidden.decays = hidden !== last }
    last.hasUnitRows = configuration.decoderNorm == .unit
  }

  var parameters: [Parameter] {
    encoder.flatMap(\.parameters) + [wEnc, bEnc, wDec, bDec] + decoder.flatMap(\.parameters)
  }

  /// The layer whose result is the reconstruction.
  var last: (weight: Parameter, bias: Parameter) { decoder.last.map { ($0.weight, $0.bias) } ?? (wDec, bDec) }

  /// Elements of all parameters.
  var count: Int { parameters.reduce(0) { $0 + $1.value.count } }

  /// - Parameter places: one for each of `parameters`.
  func sums(in places: [Strip]) -> Sums {
    var next = places.makeIterator()
    func place() -> Strip {
      guard let strip = next.next() else { preconditionFailure("\(places.count) places for \(parameters.count)") }
      return strip
    }
    func sums(_ layer: DeepLayer) -> DeepLayer.Sums {
      DeepLayer.Sums(weight: place(), bias: place(), norm: layer.norm == nil ? nil : (place(), place()))
    }
    return Sums(
      encoder: encoder.map(sums), wEnc: place(), bEnc: place(), wDec: place(), bDec: place(), decoder: decoder.map(sums)
    )
  }

  /// - Parameter memory: for all parameters, one after the other. [1, count]
  func sums(in memory: Strip) -> Sums {
    var end = 0
    return sums(
      in: parameters.map { parameter in
        let start = end
        end += parameter.value.count
        return memory.columns(start..<end).shaped(parameter.value.rows, parameter.value.columns)
      })
  }
}
