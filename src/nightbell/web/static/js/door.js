// What went wrong with a passkey, in words; allauth's script only writes it to the console.
document.addEventListener("allauth.error", (event) => {
  event.preventDefault();
  const line = document.querySelector("[data-passkey-trouble]");
  if (!line) return;
  line.textContent =
    event.detail?.exception?.name === "NotAllowedError"
      ? "The passkey was not used: cancelled, or none here for this address. Try again, or use password and code."
      : "This browser could not use a passkey here. Use password and code.";
  line.hidden = false;
});
