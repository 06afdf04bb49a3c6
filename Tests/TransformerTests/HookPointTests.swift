import Foundation
import Testing
import Transformer

@Suite struct HookPointTests {
  @Test func everyNameIsPrintedAsItIsParsed() throws {
    for fixture in Fixture.all {
      let configuration = try ModelConfiguration.parse(
        Array(Data(contentsOf: URL(fileURLWithPath: fixture.path + "/config.json"))), path: "config.json")
      for hook in configuration.validHooks {
        #expect(HookPoint(name: hook.name) == hook)
        #expect(try configuration.hook(named: hook.name) == hook)
        #expect(configuration.has(hook))
        let data = try JSONEncoder().encode([hook])
        #expect(String(decoding: data, as: UTF8.self) == "[\"\(hook.name)\"]")
        #expect(try JSONDecoder().decode([HookPoint].self, from: data) == [hook])
      }
      #expect(configuration.validHooks.sorted() == configuration.validHooks)
    }
  }

  @Test(arguments: [
    "", "blocks", "blocks.0", "blocks.0.", "blocks..hook_resid_pre", "blocks.-1.hook_resid_pre",
    "blocks.+1.hook_resid_pre", "blocks.01.hook_resid_pre", "blocks.0.hook_resid_prex", "blocks.0.hook_resid_pre.",
    "Blocks.0.hook_resid_pre", "blocks.99999999999999999999.hook_resid_pre", "hook_embedding", " hook_embed",
    "blocks.0.attn.hook_result", "ln_final.hook_scale", "blocks.0.hook_z",
  ])
  func otherNamesAreNotHooks(_ name: String) {
    #expect(HookPoint(name: name) == nil)
  }

  @Test func unknownNameFailsWithTheValidOnes() throws {
    let text = """
      {"model_type": "gpt_neox", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
       "intermediate_size": 8, "max_position_embeddings": 4, "vocab_size": 3}
      """
    let parallel = try ModelConfiguration.parse(Array(text.utf8), path: "config.json")
    let valid =
      "hook_embed, blocks.0.hook_resid_pre, blocks.0.attn.hook_z, blocks.0.hook_attn_out, blocks.0.mlp.hook_post, "
      + "blocks.0.hook_mlp_out, blocks.0.hook_resid_post, ln_final.hook_normalized"
    for name in ["resid_post_0", "blocks.0.hook_resid_mid", "blocks.1.hook_resid_pre", "hook_pos_embed"] {
      let error = #expect(throws: TransformerError.self) { try parallel.hook(named: name) }
      #expect(error?.description == "\(name) is not a hook point of this model; valid: \(valid)")
    }
  }

  @Test func widthsAreThoseOfTheModel() throws {
    let c = try Fixture(name: "llama-untied").model().configuration
    #expect(c.width(of: .block(0, .z)) == 64 && c.width(of: .block(0, .post)) == 48 && c.width(of: .embed) == 32)
  }
}
