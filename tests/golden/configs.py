"""The tiny configurations: each folder is a whole diffusers model of random weights.

They differ in block types, depth, head counts, projections, activations, odd channel counts and odd picture sizes, so
that nothing in the C builders can lean on a published size.
"""

VOCABULARY = 520  # of tokens.py: 2 x 256 bytes, 6 merges, 2 special tokens


def text(hidden, heads, layers, inner, length, act, **more):
    config = dict(vocab_size=VOCABULARY, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers,
                  num_attention_heads=heads, max_position_embeddings=length, hidden_act=act,
                  bos_token_id=VOCABULARY - 2, eos_token_id=VOCABULARY - 1, pad_token_id=VOCABULARY - 1,
                  projection_dim=hidden)
    return {**config, **more}


def vae(latents, channels, blocks, **more):
    levels = [channels] * len(blocks)
    return "AutoencoderTiny", dict(latent_channels=latents, encoder_block_out_channels=levels,
                                   decoder_block_out_channels=levels, num_decoder_blocks=blocks,
                                   num_encoder_blocks=blocks[::-1], **more)


def kl(latents, channels, layers, groups, **more):
    return "AutoencoderKL", dict(latent_channels=latents, block_out_channels=channels, layers_per_block=layers,
                                 norm_num_groups=groups, down_block_types=["DownEncoderBlock2D"] * len(channels),
                                 up_block_types=["UpDecoderBlock2D"] * len(channels), **more)


FIXTURES = {
    # Stable Diffusion 1.x: convolutions as projections, the same number of heads everywhere, quick GELU, epsilon.
    # 6 x 10 latents become 3 x 5 and 2 x 3: the way up needs sizes that are not doubles.
    "sd1": dict(
        seed=1, pictures=[(1, 1, None), (4, 3, None), (4, 3, "a blue cat"), (6, 3, None, "ddim"),
                          (7, 3, None, "euler-a")],
        legacy_prefix=True, latents=(6, 10),
        text_encoder=text(24, 3, 2, 40, 13, "quick_gelu"),
        unet=dict(in_channels=4, out_channels=4, block_out_channels=[8, 12, 20], layers_per_block=2,
                  down_block_types=["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
                  up_block_types=["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
                  attention_head_dim=2, cross_attention_dim=24, norm_num_groups=4),
        vae=vae(4, 12, [1, 1, 1]),
        scheduler=("EulerDiscreteScheduler", dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
                                                  timestep_spacing="trailing", prediction_type="epsilon")),
    ),
    # Stable Diffusion 2.x: linear projections, heads that differ by level, two transformer blocks, GELU,
    # v-prediction, and the sinusoid the other way round.
    "sd2": dict(
        seed=2, pictures=[(1, 1, None), (4, 2.5, "an apple")],
        shards="400KB", latents=(8, 8),
        text_encoder=text(30, 5, 3, 50, 9, "gelu", layer_norm_eps=1e-4),
        unet=dict(in_channels=5, out_channels=5, block_out_channels=[12, 18, 24], layers_per_block=1,
                  down_block_types=["CrossAttnDownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"],
                  up_block_types=["CrossAttnUpBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"],
                  attention_head_dim=[2, 3, 4], cross_attention_dim=30, norm_num_groups=6, use_linear_projection=True,
                  transformer_layers_per_block=2, upcast_attention=True, flip_sin_to_cos=False, freq_shift=1,
                  norm_eps=1e-4),
        vae=vae(5, 10, [2, 1], act_fn="silu", scaling_factor=0.7),
        scheduler=("EulerDiscreteScheduler", dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
                                                  timestep_spacing="trailing", prediction_type="v_prediction",
                                                  rescale_betas_zero_snr=False)),
    ),
    # One-step model: odd widths (and so an odd sinusoid), layers that differ by level, no attention at the top,
    # 5 x 7, and a guidance embedding as consistency models have it.
    "turbo": dict(
        seed=3, pictures=[(1, 2.5, None), (4, 2.5, None)],
        latents=(5, 7),
        text_encoder=text(21, 3, 1, 33, 11, "gelu"),
        unet=dict(in_channels=3, out_channels=3, block_out_channels=[9, 15], layers_per_block=[1, 2],
                  down_block_types=["DownBlock2D", "CrossAttnDownBlock2D"],
                  up_block_types=["CrossAttnUpBlock2D", "UpBlock2D"], attention_head_dim=3, cross_attention_dim=21,
                  norm_num_groups=3, downsample_padding=0, mid_block_scale_factor=1.5, time_cond_proj_dim=7),
        guidance=2.5,
        vae=vae(3, 7, [1, 2, 0], latent_magnitude=2),
        scheduler=("LCMScheduler", dict(prediction_type="epsilon")),
    ),
    # The same written as fp16 (and judged against fp32 arithmetic on the rounded weights), with no middle block and
    # several transformer blocks by level.
    "half": dict(
        seed=4, pictures=[(4, 1, None), (4, 3, "red")],
        latents=(6, 4), half=True,
        text_encoder=text(26, 2, 2, 30, 10, "quick_gelu"),
        unet=dict(in_channels=4, out_channels=4, block_out_channels=[10, 20], layers_per_block=1,
                  down_block_types=["CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
                  up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D"], attention_head_dim=[1, 4],
                  cross_attention_dim=26, norm_num_groups=5, use_linear_projection=True,
                  transformer_layers_per_block=[1, 2], mid_block_type=None),
        vae=vae(4, 9, [1, 0]),
        scheduler=("EulerDiscreteScheduler", dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
                                                  timestep_spacing="leading", steps_offset=1,
                                                  prediction_type="sample")),
    ),
    # Another autoencoder: AutoencoderKL of three levels under its old names, with a shift and without the pointwise
    # convolutions; UNet and text as small as they get.
    "kl": dict(
        seed=6, pictures=[(4, 1, None), (4, 3, "red"), (1, 1, None, "pndm"), (7, 3, None, "pndm")],
        old_attention=True, latents=(3, 5),
        text_encoder=text(12, 2, 1, 16, 8, "quick_gelu"),
        unet=dict(in_channels=3, out_channels=3, block_out_channels=[6], layers_per_block=1,
                  down_block_types=["CrossAttnDownBlock2D"], up_block_types=["CrossAttnUpBlock2D"],
                  attention_head_dim=2, cross_attention_dim=12, norm_num_groups=3),
        vae=kl(3, [6, 9, 15], 1, 3, act_fn="gelu", scaling_factor=0.6, shift_factor=0.3, use_quant_conv=False,
               use_post_quant_conv=False),
        scheduler=("EulerDiscreteScheduler", dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
                                                  timestep_spacing="leading", steps_offset=1,
                                                  prediction_type="epsilon")),
    ),
    # SDXL: two text encoders (the second with a projection), their last but one states side by side, pooled text and
    # picture sizes added to the time.
    "xl": dict(
        seed=5, pictures=[(1, 1, None), (4, 1, None), (1, 3, None), (4, 3, None), (4, 3, ""), (4, 3, "a blue cat"),
                          (1, 1, None, "lcm", [399]), (4, 1, None, "lcm", [999, 749, 499, 249]),
                          (3, 1, None, None, [801, 402, 99])],
        sharpness=1.4, latents=(4, 6),
        text_encoder=text(14, 2, 2, 20, 8, "quick_gelu"),
        text_encoder_2=text(18, 3, 3, 22, 8, "gelu", projection_dim=11),
        unet=dict(in_channels=4, out_channels=4, block_out_channels=[8, 16], layers_per_block=1,
                  down_block_types=["DownBlock2D", "CrossAttnDownBlock2D"],
                  up_block_types=["CrossAttnUpBlock2D", "UpBlock2D"], attention_head_dim=[2, 4],
                  cross_attention_dim=32, norm_num_groups=4, use_linear_projection=True,
                  transformer_layers_per_block=[1, 2], addition_embed_type="text_time", addition_time_embed_dim=6,
                  projection_class_embeddings_input_dim=47),
        vae=kl(4, [8, 12], 2, 4, scaling_factor=5.5),
        scheduler=("EulerDiscreteScheduler", dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
                                                  timestep_spacing="trailing", prediction_type="epsilon")),
    ),
    # SDXL as its distilled variants have it: three levels with no attention at the top, a guidance embedding beside
    # the added ones, LCM; an autoencoder without attention.
    "lcm-xl": dict(
        seed=7, pictures=[(1, 2.5, None), (4, 2.5, None)], latents=(6, 5), guidance=2.5,
        text_encoder=text(15, 3, 1, 18, 10, "quick_gelu"),
        text_encoder_2=text(10, 2, 2, 26, 10, "gelu", projection_dim=7),
        unet=dict(in_channels=4, out_channels=4, block_out_channels=[4, 6, 8], layers_per_block=[1, 1, 2],
                  down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
                  up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
                  attention_head_dim=[1, 3, 2], cross_attention_dim=25, norm_num_groups=2, use_linear_projection=True,
                  transformer_layers_per_block=[1, 1, 2], time_cond_proj_dim=6, addition_embed_type="text_time",
                  addition_time_embed_dim=4, projection_class_embeddings_input_dim=31),
        vae=kl(4, [4, 6], 1, 2, scaling_factor=9.0, mid_block_add_attention=False),
        scheduler=("LCMScheduler", dict(prediction_type="epsilon")),
    ),
}
