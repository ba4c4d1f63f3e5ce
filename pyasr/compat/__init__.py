"""Drop-ins: the names, arguments and defaults of other packages over the functions of this one.

Nothing is imported until it is asked for, and no drop-in imports its peer. `pyasr.compat.lhotse` is none: lhotse reads our files
with it.

    import pyasr.compat.kaldi_native_fbank as knf
    import pyasr.compat.torchaudio_kaldi as kaldi
    import pyasr.compat.librosa as librosa
    from pyasr.compat.python_speech_features import mfcc, logfbank
    from pyasr.compat.whisper import log_mel_spectrogram
    from pyasr.compat.transformers import SeamlessM4TFeatureExtractor, WhisperFeatureExtractor

What a peer does and pyasr does not raises ValueError in the peer's words; docs/migration.md lists what differs.
"""
