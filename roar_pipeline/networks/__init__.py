"""Networks: batches, architectures, training, distillation."""
