import ArgumentParser
import LinearAlgebra
import Memory
import SAE

struct EncodeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "encode", abstract: "Apply an SAE to activations in a safetensors file.",
    discussion:
      "Reads the F32 tensor `x` [tokens, width]; writes `latents` [tokens, latents] and `recon` [tokens, width]"
      + " (a transcoder's: the width of its target).")

  @Argument(help: "A run, or a folder in SAELens' layout.") var folder: String
  @Option(help: "Safetensors file with raw activations, tensor x.") var input: String
  @Option(help: "Safetensors file to write.") var out: String

  func run() throws {
    let sae = try SAELensFormat.open(run: folder).sae
    let file = try SafetensorsFile(path: input)
    let (tokens, width) = (file.tensors["x"]?.shape.first ?? 1, sae.configuration.dIn)
    guard tokens > 0 else { throw ValidationError("\(input): x has no tokens") }
    let x = try file.matrix("x", shape: [tokens, width], rows: tokens)
    let code = sae.encode(x)
    let recon = sae.decode(code, of: x)
    var latents = Matrix(tokens, sae.configuration.dSAE)
    for token in 0..<tokens {
      for (latent, value) in code.row(token) { latents[token, latent] = value }
    }
    try SafetensorsWriter.write(
      [
        .init("latents", shape: [tokens, sae.configuration.dSAE], latents),
        .init("recon", shape: [tokens, sae.configuration.outWidth], recon),
      ], to: out)
  }
}
