"""Networks: images f32 (N, 3, H, W), normalised, -> logits (N, K, H, W). K = 1 means sigmoid, K > 1 softmax."""
