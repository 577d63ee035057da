"""placeholder until the real one is written"""
def normalise(images, mean, deviation):
    import jax.numpy as jnp
    return (images.astype(jnp.float32)/255 - jnp.asarray(mean))/jnp.asarray(deviation)
def random_erasing(*a): raise NotImplementedError
def cutmix(*a, **k): raise NotImplementedError
