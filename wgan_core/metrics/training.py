"""Declarations of the quantities that the training loop reports. None of them compares across trials."""

from __future__ import annotations

from wgan_core.metrics.metric import MetricSpec

TRAINING = (
    MetricSpec(
        "train/wasserstein_estimate",
        "mean critic value on real less that on generated samples, without penalty; of a Wasserstein GAN, data units",
        "none",
        frozenset({"critic", "lambda_gp", "train split"}),
        "Arjovsky et al. 2017, equation 2; its bias under a penalty: Mallasto et al. 2019, Stanczuk et al. 2021",
    ),
    MetricSpec(
        "train/validation_estimate",
        "mean critic value on held-out real less that on generated samples, at the report; of a Wasserstein GAN, data "
        "units",
        "none",
        frozenset({"critic", "lambda_gp", "held-out split"}),
        "Gulrajani et al. 2017, section 5.4",
    ),
    MetricSpec(
        "train/critic_overfit",
        "mean critic value on training samples less that on held-out ones; 0 for a critic that generalises, and rising "
        "as it learns its training samples by heart",
        "none",
        frozenset({"critic", "lambda_gp", "train split", "held-out split"}),
        "Gulrajani et al. 2017, section 5.4",
    ),
    MetricSpec(
        "train/gradient_penalty",
        "the loss's penalty before the factor lambda; of a WGAN-GP the mean of (|gradient of the critic| - 1)^2",
        "none",
        frozenset({"critic", "lambda_gp", "train split"}),
        "Gulrajani et al. 2017, equation 3",
    ),
    MetricSpec(
        "train/gradient_norm",
        "mean norm of the critic's gradient where it is penalised; 1 for the ideal critic of a WGAN-GP",
        "none",
        frozenset({"critic", "lambda_gp", "train split"}),
        "Gulrajani et al. 2017, section 4",
    ),
    MetricSpec(
        "train/critic_loss",
        "what the critic minimises: the loss, plus lambda times its penalty if it has one",
        "none",
        frozenset({"critic", "lambda_gp", "train split"}),
        "Gulrajani et al. 2017, equation 3",
    ),
    MetricSpec(
        "train/generator_loss",
        "what the generator minimises; of a Wasserstein GAN its zero is arbitrary",
        "none",
        frozenset({"critic", "generator", "lambda_gp"}),
        "Arjovsky et al. 2017, algorithm 1",
    ),
)
