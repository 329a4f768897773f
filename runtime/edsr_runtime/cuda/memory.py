"""Memory that grows when more is needed and is given back at the end."""

from edsr_runtime.cuda.device import Bytes, Device


class Buffer:
    """Device memory. What was in it is lost when it grows."""

    def __init__(self, device: Device) -> None:
        self.address = 0
        self._device = device
        self._size = 0

    def hold(self, size: int) -> None:
        """Be at least so large.

        Raises:
            DeviceMemoryError: there is not so much; the buffer is empty then.
        """
        if size > self._size:
            self.close()
            self.address = self._device.allocate(size)
            self._size = size

    def close(self) -> None:
        """Be empty."""
        address, self.address, self._size = self.address, 0, 0
        if address:
            self._device.free(address)


class PinnedBuffer:
    """The same of host memory."""

    def __init__(self, device: Device, write_only: bool = False) -> None:
        self._device = device
        self._write_only = write_only
        self._pinned: Bytes | None = None

    def hold(self, size: int) -> None:
        """Be at least so large; see ``Buffer``."""
        if self._pinned is None or size > self._pinned.size:
            self.close()
            self._pinned = self._device.pin(size, self._write_only)

    def first(self, size: int) -> Bytes:
        """Its first bytes."""
        assert self._pinned is not None
        return self._pinned[:size]

    def close(self) -> None:
        """Be empty."""
        pinned, self._pinned = self._pinned, None
        if pinned is not None:
            self._device.unpin(pinned)
