"""The weighted MAE/edge/SSIM loss with transfer learning."""
