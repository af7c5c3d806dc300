// The sliders: left of the line an image shows the first run, right of it the second. Without scripts both stand side by side.
"use strict";
for (const slide of document.querySelectorAll(".slide")) {
  const knob = slide.querySelector("input");
  const move = share => {
    knob.value = share;
    slide.style.setProperty("--at", knob.value + "%");
  };
  knob.addEventListener("input", () => move(knob.value));
  for (const pair of slide.querySelectorAll(".pair")) {
    const follow = event => {
      const box = pair.getBoundingClientRect();
      if (event.buttons) move(100 * (event.clientX - box.left) / box.width);
    };
    pair.addEventListener("pointerdown", follow);
    pair.addEventListener("pointermove", follow);
    pair.addEventListener("dragstart", event => event.preventDefault());
  }
  move(50);
}
document.documentElement.classList.add("scripted");
