"""The two networks: names of the official layout, and the encoder inside it."""

import pytest

torch = pytest.importorskip("torch")

from training import cells  # noqa: E402
from training.export import load_vqgan  # noqa: E402
from training.models import train_vqgan  # noqa: E402
from training.models.encoder import CODE, Encoder, apart, install, joined  # noqa: E402
from training.models.language_model import Gemma, GemmaConfig  # noqa: E402
from training.models.vqgan import VQGANConfig, VQModel  # noqa: E402


def installed(seed: int = 0) -> tuple[Encoder, VQModel]:
    torch.manual_seed(seed)
    network = Encoder().eval()
    model = VQModel(VQGANConfig(n_embed=cells.code_count()))
    install(network, model)
    return network, model


@torch.no_grad()
def test_the_official_encoder_computes_what_was_trained():
    network, model = installed()
    x = torch.rand(2, 3, 128, 192) * 2 - 1
    z = model.quant_conv(model.encoder(x)).permute(0, 2, 3, 1)
    assert z.shape == (2, 8, 12, CODE)
    assert torch.allclose(network(x), z, atol=1e-4)


def test_going_on_with_the_encoder_leaves_the_codebook_and_decoder_and_is_done_once(tmp_path):
    train_vqgan.make_encoder(tmp_path, steps=1)
    train_vqgan.train_decoder(tmp_path, steps=1)
    network, book = train_vqgan.load_encoder(tmp_path)
    assert torch.equal(joined(*apart(book)), book)
    before = torch.load(tmp_path / "vqgan.pt")["model"]
    train_vqgan.refine_encoder(tmp_path, steps=1)
    refined, same = train_vqgan.load_encoder(tmp_path)
    assert torch.equal(same, book)
    assert not torch.equal(refined.stem.weight, network.stem.weight)
    whole = torch.load(tmp_path / "vqgan.pt")
    exported = load_vqgan(tmp_path).state_dict()
    changed = {n.split(".")[0] for n, v in exported.items() if not torch.equal(v, before[n])}
    assert changed
    assert changed <= {"encoder", "quant_conv"}
    assert whole["step"] == 1
    files = [(tmp_path / name).read_bytes() for name in ("encoder.pt", "vqgan.pt")]
    train_vqgan.refine_encoder(tmp_path, steps=1)
    assert files == [(tmp_path / name).read_bytes() for name in ("encoder.pt", "vqgan.pt")]


def test_decoding_gives_a_picture_of_sixteen_pixels_a_code():
    _, model = installed()
    with torch.no_grad():
        assert model.decode(torch.zeros(1, 8, 12, dtype=torch.long)).shape == (1, 3, 128, 192)


def test_the_checkpoint_has_hugging_face_names_and_a_plain_table():
    config = GemmaConfig(vocab_size=640 + cells.code_count(), num_hidden_layers=1)
    weights = Gemma(config).checkpoint()
    assert weights["model.embed_tokens.weight"].shape == (config.vocab_size, config.hidden_size)
    assert "model.layers.0.self_attn.q_proj.weight" in weights
    assert "model.norm.weight" in weights
    assert not any("factor" in name or "colours" in name for name in weights)


@torch.no_grad()
def test_padding_and_later_tokens_do_not_matter():
    torch.manual_seed(0)
    model = Gemma(GemmaConfig(vocab_size=640 + cells.code_count(), num_hidden_layers=2))
    ids = torch.randint(0, 640, (1, 12))
    longer = torch.cat((ids, torch.randint(0, 640, (1, 5))), dim=1)
    assert torch.allclose(model(ids)[0], model(longer)[0][:, :12], atol=1e-5)


def test_half_of_the_layers_give_the_states_of_the_middle():
    torch.manual_seed(0)
    config = GemmaConfig(vocab_size=1200 + cells.code_count(), num_hidden_layers=4)
    model = Gemma(config)
    for layer in model.model.layers:
        torch.nn.init.normal_(layer.mlp.down_proj.weight, std=0.1)  # it starts at zero
    ids = torch.arange(2 * 9).view(2, 9)
    last, middle = model(ids)
    assert torch.equal(model(ids, half=True)[1], middle)
    assert not torch.allclose(last, middle)


def test_the_rate_falls_to_zero_in_each_part():
    from training.models.train_language_model import FIRST_STEPS, LATE_RATE, STEPS, WARM_UP, rate

    rates = [rate(step, STEPS) for step in range(STEPS)]
    assert rates[WARM_UP] == rates[1000] == 1.0
    assert 0 < rates[FIRST_STEPS - 1] < 1e-3 > rates[-1] > 0
    second = rates[FIRST_STEPS:]
    assert 0 < rate(499, 500) < 0.01  # of a short run, too
    assert second[0] < 0.02 < max(second) <= LATE_RATE
    peak = second.index(max(second))
    assert WARM_UP - 2 <= peak <= WARM_UP
    assert all(a > b for a, b in zip(second[peak:], second[peak + 1 :], strict=False))
