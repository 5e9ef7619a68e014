"""Networks in pure PyTorch; nothing here knows of Lightning, data or metrics."""

from bootlight.lazy import public

__getattr__, __dir__, __all__ = public(
    __name__,
    {
        "autoencoder": "Autoencoder",
        "backbone": "Backbone Flat SmallResNet",
        "library_backbone": "LibraryBackbone",
        "lora": "LoRA",
        "mlp": "MLP",
        "nextnet": "NextNet",
        "sizes": "Sizes",
        "text_unet": "TextUNet",
        "unet": "UNet",
        "unet_2d": "UNet2D",
    },
)
